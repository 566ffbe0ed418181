"""Validation: what passes, what fails and how it is told."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plmsae.core.errors import InputError, QualityError
from plmsae.quality import sources
from plmsae.quality.report import ExpectationResult, ValidationReport, raise_if_critical
from plmsae.quality.validation import validate

PROTEINS = pl.DataFrame(
    {"accession": ["P1", "P2"], "length": [100, 50], "sequence": ["MKTAYIAKQR" * 10, "W" * 50]}
)
CONCEPTS = ["Domain: SH3", "Active site"]
SPANS = pl.DataFrame({"concept": CONCEPTS, "kind": ["span", "site"]})


def annotations(**changes: list[object]) -> pl.DataFrame:
    columns: dict[str, list[object]] = {
        "accession": ["P1", "P1", "P2"],
        "start": [1, 20, 5],
        "end": [10, 20, 50],
        "concept": ["Domain: SH3", "Active site", "Domain: SH3"],
        "score": [0.5, 1.0, 0.0],
        "precision": [0.9, 0.8, 0.9],
        "precision_low": [0.8, 0.7, 0.8],
        "probability": [0.95, None, 0.6],
        "latents": [[1], [2], [1, 3]],
        "model_uri": ["m/1"] * 3,
    }
    return pl.DataFrame({**columns, **changes}, strict=False)


def check(kind: str, table: pl.DataFrame | Path, out: Path, **context: object) -> ValidationReport:
    return validate(kind, table, out_dir=out, context=context)


def named(report: ValidationReport, name: str) -> ExpectationResult:
    return next(result for result in report.results if result.name == name)


def failing(report: ValidationReport) -> set[str]:
    return {result.name for result in report.of("failed") + report.of("warning")}


def test_good_annotations_pass_every_expectation(tmp_path: Path) -> None:
    report = check("annotations", annotations(), tmp_path, proteins=PROTEINS, concepts=SPANS)
    assert report.success
    assert failing(report) == set()
    assert {result.name for result in report.of("unchecked")} == {  # without their controls
        "residues_possible",
        "soluble_without_membrane",
        "model_as_registered",
        "no_dominant_concept",
        "probabilities_calibrated",
        "no_overconfident_concept",
        "concepts_as_in_the_reference",
    }
    raise_if_critical(report)


@pytest.mark.parametrize(
    ("changes", "name", "example"),
    [
        ({"start": [0, 20, 5]}, "start_from_one", "accession P1, start 0, end 10"),
        ({"start": [1, 21, 5]}, "start_before_end", "start 21, end 20"),
        ({"end": [101, 20, 50]}, "inside_the_protein", "end 101"),
        ({"accession": ["P1", "P7", "P2"]}, "protein_known", "unknown_protein P7"),
        ({"concept": ["Domain: SH3", "Nonsense", "Domain: SH3"]}, "concept_known", "Nonsense"),
        ({"score": [0.5, 1.01, 0.1]}, "score_in_range", "score 1.01"),
        ({"score": [0.5, float("nan"), 0.1]}, "score_present", "score (empty)"),
        ({"score": [0.5, float("inf"), 0.1]}, "score_in_range", "score inf"),
        ({"probability": [0.9, 1.5, 0.9]}, "probability_in_range", "probability 1.5"),
        ({"precision": [0.9, None, 0.9]}, "precision_present", "precision (empty)"),
        ({"precision": [0.7, 0.8, 0.9]}, "precision_above_its_lower_end", "precision_low 0.8"),
        ({"model_uri": ["m/1", "m/1", "m/2"]}, "one_model", "m/1 (2 rows)"),
    ],
)
def test_a_bad_annotation_fails_its_expectation_and_is_shown(
    tmp_path: Path, changes: dict[str, list[object]], name: str, example: str
) -> None:
    frame = annotations(**changes)
    report = check("annotations", frame, tmp_path, proteins=PROTEINS, concepts=CONCEPTS)
    assert not report.success
    assert failing(report) == {name}
    assert example in named(report, name).examples[0]
    assert named(report, name).unexpected_count >= 1


def test_a_repeated_row_is_counted_once_for_each_repeat(tmp_path: Path) -> None:
    frame = pl.concat([annotations()] * 3)
    report = check("annotations", frame, tmp_path, proteins=PROTEINS, concepts=CONCEPTS)
    assert failing(report) == {"no_repeats"}
    assert named(report, "no_repeats").unexpected_count == 6
    assert "(3×)" in named(report, "no_repeats").examples[0]


def test_a_critical_failure_raises_with_exit_code_3_and_says_where_the_report_is(
    tmp_path: Path,
) -> None:
    frame = annotations(start=[0, 20, 5], score=[2.0, 1.0, 0.0])
    report = check("annotations", frame, tmp_path, proteins=PROTEINS, concepts=CONCEPTS)
    with pytest.raises(QualityError) as caught:
        raise_if_critical(report)
    assert caught.value.exit_code == 3
    assert caught.value.expected == "annotations with start at least 1"
    assert "1 of 3 rows fail" in caught.value.found
    assert "also failed: score_in_range" in caught.value.found
    assert caught.value.report == str(tmp_path / "summary.html")
    assert "\n" not in str(caught.value)


def test_a_warning_does_not_raise(tmp_path: Path) -> None:
    frame = annotations().clear()
    report = check("annotations", frame, tmp_path, proteins=PROTEINS, concepts=CONCEPTS)
    assert report.success
    assert failing(report) == {"something_was_found", "proteins_annotated"}
    assert named(report, "few_per_protein").observed == "there are no rows to check"
    raise_if_critical(report)


def test_of_a_table_without_rows_nothing_about_rows_is_called_passed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        report = check("annotations", annotations().clear(), tmp_path, proteins=PROTEINS)
    assert named(report, "start_from_one").state == "unchecked"
    assert f"{len(report.of('unchecked'))} could not be checked" in report.verdict
    assert report.verdict in report.summary_path.read_text()
    assert "was not checked" not in caplog.text


def test_the_summary_links_the_page_that_holds_the_results(tmp_path: Path) -> None:
    report = check("annotations", annotations(), tmp_path, proteins=PROTEINS, concepts=CONCEPTS)
    (linked,) = re.findall(r'<a href="(data_docs/[^"]+)"', report.summary_path.read_text())
    assert "/validations/" in linked
    assert "precision_low" in (tmp_path / linked).read_text()
    listed = re.findall(r'<a href="([^"]+)"', report.docs_path.read_text())
    assert linked.removeprefix("data_docs/") in listed
    assert len(listed) == 2
    assert all((report.docs_path.parent / page).is_file() for page in listed)


def test_what_cannot_be_checked_is_never_called_passed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        report = check("annotations", annotations(end=[999, 20, 50]), tmp_path)
    assert named(report, "inside_the_protein").success is None
    assert named(report, "inside_the_protein").observed == "no proteins to compare with"
    assert named(report, "model_as_registered").observed == "no registered model to compare with"
    assert named(report, "concept_known").state == "unchecked"
    assert "inside_the_protein was not checked" in caplog.text


def test_a_missing_column_is_the_wrong_table_and_not_bad_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks the columns end, score"):
        check("annotations", annotations().drop("score", "end"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_column_of_another_type_is_the_wrong_table_too(tmp_path: Path) -> None:
    frame = annotations().with_columns(pl.col("start").cast(pl.String))
    with pytest.raises(InputError, match="start is not of type integer"):
        check("annotations", frame, tmp_path)


def test_unknown_kinds_and_contexts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such suite"):
        check("proposal", annotations(), tmp_path)
    with pytest.raises(InputError, match="unknown context"):
        check("annotations", annotations(), tmp_path, protein=PROTEINS)
    with pytest.raises(InputError, match="concept"):
        check("annotations", annotations(), tmp_path, concepts=PROTEINS)


def test_a_missing_or_empty_folder_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.*no such file"):
        check("annotations", tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no Parquet parts of annotations"):
        check("annotations", tmp_path / "empty", tmp_path / "out")


def test_half_a_parquet_file_is_told_with_its_name(tmp_path: Path) -> None:
    annotations().write_parquet(tmp_path / "part-0.parquet")
    half = (tmp_path / "part-0.parquet").read_bytes()[:200]
    (tmp_path / "part-0.parquet").write_bytes(half)
    with pytest.raises(InputError, match=r"part-0.parquet: the table cannot be read"):
        check("annotations", tmp_path, tmp_path / "out")


def test_parts_with_other_columns_are_told_apart(tmp_path: Path) -> None:
    annotations().write_parquet(tmp_path / "a.parquet")
    annotations().drop("latents").write_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b.parquet: parts differ in their columns: latents"):
        check("annotations", tmp_path, tmp_path / "out")


def stripped(report: ValidationReport) -> list[tuple[object, ...]]:
    return [
        (r.name, r.success, r.observed, r.value, r.unexpected_count, r.element_count)
        for r in report.results
    ]


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["P1", "P2", "P3", None]),
            st.one_of(st.none(), st.integers(-1, 60)),
            st.integers(0, 110),
            st.sampled_from([*CONCEPTS, "Other"]),
            st.sampled_from([0.0, 0.5, 1.5, float("nan"), None]),
        ),
        min_size=2,
        max_size=20,
    ),
    cuts=st.lists(st.integers(0, 20), min_size=1, max_size=3),
    batch_rows=st.integers(1, 7),
)
def test_parts_and_batches_give_what_one_batch_gives(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[tuple[object, ...]],
    cuts: list[int],
    batch_rows: int,
) -> None:
    frame = pl.DataFrame(
        rows,
        schema={
            "accession": pl.String, "start": pl.Int32, "end": pl.Int32, "concept": pl.String,
            "score": pl.Float64,
        },
        orient="row",
    ).with_columns(
        precision=pl.lit(0.9), precision_low=pl.col("score") / 1.6, model_uri=pl.lit("m/1")
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("parts")
    edges = [0, *sorted(min(cut, frame.height) for cut in cuts), frame.height]
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        frame[low:high].write_parquet(folder / f"part-{i}.parquet")
    context = {"proteins": PROTEINS, "concepts": CONCEPTS}
    monkeypatch.setattr(sources, "BATCH_ROWS", 100_000)
    whole = check("annotations", frame, folder / "whole", **context)
    monkeypatch.setattr(sources, "BATCH_ROWS", batch_rows)
    parts = check("annotations", folder, folder / "parts", **context)
    assert stripped(parts) == stripped(whole)
    assert parts.n_rows == frame.height


def test_lengths_are_found_beside_the_part_or_in_any_other(tmp_path: Path) -> None:
    for folder in ("annotations", "proteins"):
        (tmp_path / folder).mkdir()
    annotations().write_parquet(tmp_path / "annotations" / "part-1.parquet")
    PROTEINS[:1].write_parquet(tmp_path / "proteins" / "part-1.parquet")
    PROTEINS[1:].write_parquet(tmp_path / "proteins" / "part-2.parquet")
    report = check(
        "annotations",
        tmp_path / "annotations",
        tmp_path / "out",
        proteins=tmp_path / "proteins",
        concepts=CONCEPTS,
    )
    assert failing(report) == set()
    assert named(report, "inside_the_protein").element_count == 3


def test_real_proteins_pass_and_genes_do_not(tmp_path: Path, real_data: Path) -> None:
    table = pl.read_csv(real_data / "swissprot_bsubtilis.tsv.gz", separator="\t")
    proteins = table.select(accession="Entry", length="Length", sequence="Sequence")
    rejected = pl.DataFrame({"reason": ["letter '*' inside"]})
    report = check("proteins", proteins, tmp_path / "a", rejected=rejected)
    assert report.success
    assert failing(report) == set()
    genes = proteins.with_columns(
        pl.lit("ATGGCGTTAACC").repeat_by(20).list.join("").alias("sequence"),
        pl.lit(240).alias("length"),
    )
    report = check("proteins", genes, tmp_path / "b", rejected=rejected)
    assert "not_nucleotides" in {result.name for result in report.of("failed")}
    assert {"composition_natural", "few_repeated_sequences"} <= failing(report)


def test_bad_proteins_fail_their_expectations(tmp_path: Path) -> None:
    proteins = pl.DataFrame(
        {
            "accession": ["P1", "P1", "P 3"],
            "length": [40, 30, 30],
            "sequence": ["MKTAYIAKQR" * 4, "XXXXXXXXXX" * 3, "mktayiakqr" * 4],
        }
    )
    rejected = pl.DataFrame({"reason": ["empty", "empty"]})
    report = check("proteins", proteins, tmp_path, rejected=rejected)
    assert {result.name for result in report.of("failed")} == {
        "accession_unique", "accession_plain", "sequence_letters", "length_of_the_sequence",
        "few_rejected",
    }  # fmt: skip
    assert named(report, "accession_unique").examples == ("P1 (2×)",)
    assert named(report, "few_rejected").value == 0.2
    assert named(report, "few_unknown_residues").state == "warning"


def test_a_single_bad_record_in_a_small_file_does_not_stop_the_others(tmp_path: Path) -> None:
    proteins = pl.DataFrame({"accession": ["P1"], "length": [40], "sequence": ["MKTAYIAKQR" * 4]})
    rejected = pl.DataFrame({"reason": ["empty"]})
    report = check("proteins", proteins, tmp_path, rejected=rejected)
    assert named(report, "few_rejected").state == "passed"
    assert report.success


PROPOSALS = pl.DataFrame(
    {
        "accession": ["P1", "P2"],
        "start": [1, 5],
        "end": [10, 20],
        "concept": ["Domain: SH3", "Active site"],
        "precision": [0.95, 0.9],
        "precision_low": [0.9, 0.8],
    }
)


def labels(start: int, end: int, concept: str = "Domain: SH3", protein: str = "P1") -> pl.DataFrame:
    return pl.DataFrame(
        {"accession": [protein], "start": [start], "end": [end], "concept": [concept]}
    )


def test_a_proposal_that_touches_a_known_label_of_its_concept_fails(tmp_path: Path) -> None:
    report = check("proposals", PROPOSALS, tmp_path, labels=labels(10, 30))
    result = named(report, "label_is_missing")
    assert result.state == "failed"
    assert result.unexpected_count == 1
    assert "known_label Domain: SH3 10..30" in result.examples[0]


@pytest.mark.parametrize(
    "known",
    [labels(11, 30), labels(1, 10, "Active site"), labels(1, 10, protein="P2")],
    ids=["beside it", "another concept", "another protein"],
)
def test_a_proposal_elsewhere_is_no_repeat(tmp_path: Path, known: pl.DataFrame) -> None:
    report = check("proposals", PROPOSALS, tmp_path, labels=known)
    assert named(report, "label_is_missing").state == "passed"


def test_a_broken_promise_shows_in_the_backtest(tmp_path: Path) -> None:
    backtest = pl.DataFrame(
        {
            "concept": ["Domain: SH3", "Active site"],
            "n_hidden": [100, 50],
            "n_recovered": [60, 10],
            "n_proposed": [100, 20],
            "n_correct": [60, 17],
        }
    )
    report = check("proposals", PROPOSALS, tmp_path, backtest=backtest)
    assert named(report, "promises_kept").value == 1
    assert named(report, "promises_kept").examples == (
        "Domain: SH3: promised ≥ 0.90, was right 60 times in 100",
    )
    assert named(report, "backtest_precise").value == pytest.approx(77 / 120)
    assert named(report, "backtest_finds").value == pytest.approx(70 / 150)


def test_labels_of_two_kinds_or_outside_their_protein_fail(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "accession": ["P1", "P1", "P2"],
            "start": [1, 20, 1],
            "end": [10, 20, 51],
            "concept": ["Motif", "Motif", "Region "],
            "kind": ["span", "site", "span"],
        }
    )
    report = check("labels", frame, tmp_path, proteins=PROTEINS)
    assert {result.name for result in report.of("failed")} == {
        "one_kind_each", "inside_the_protein", "concept_named",
    }  # fmt: skip
    assert named(report, "one_kind_each").examples == ("Motif",)


def test_a_gzipped_text_table_is_read_like_any_other(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "labels.tsv.gz"
    path.write_bytes(gzip.compress(labels(1, 10).write_csv(separator="\t").encode()))
    report = check("labels", path, tmp_path / "out", proteins=PROTEINS)
    assert named(report, "kind_known").observed == "the table has no column kind"
    assert report.success


HOSTILE = "<script>alert(1)</script><img src=https://example.invalid/x.png>"


def test_pages_are_escaped_and_fetch_nothing_from_outside(tmp_path: Path) -> None:
    frame = annotations(concept=[HOSTILE, "Active site", "Domain: SH3"])
    report = check("annotations", frame, tmp_path, proteins=PROTEINS, concepts=CONCEPTS)
    pages = [report.summary_path, *report.docs_path.parent.rglob("*.html")]
    assert len(pages) >= 4
    fetches = re.compile(r"<(?:link|script|img|iframe)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//")
    for page in pages:
        text = page.read_text()
        # The summary has one of its own, for links inside MLflow's frame.
        assert text.count("<script") == (page == report.summary_path)
        assert "<script>alert" not in text
        assert not fetches.search(text)
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", text)
    assert "&lt;script&gt;alert(1)" in report.summary_path.read_text()
    assert sum("&lt;script&gt;alert(1)" in page.read_text() for page in pages) >= 2


def test_the_json_says_the_same_as_the_object(tmp_path: Path) -> None:
    report = check("annotations", annotations(start=[0, 1, 1]), tmp_path)
    stored = json.loads(report.json_path.read_text())
    assert stored["success"] is False
    assert [entry["name"] for entry in stored["results"]] == [r.name for r in report.results]
    assert [entry["state"] for entry in stored["results"]] == [r.state for r in report.results]
    assert stored["summary_path"] == "summary.html"
    assert str(tmp_path) not in report.json_path.read_text()


def test_validating_again_replaces_what_was_there(tmp_path: Path) -> None:
    check("annotations", annotations(start=[0, 20, 5]), tmp_path)
    report = check("annotations", annotations(), tmp_path)
    assert json.loads(report.json_path.read_text())["success"] is True
    assert len(list(report.docs_path.parent.glob("validations/annotations/*/*/*.html"))) == 1
    assert {p.name for p in tmp_path.iterdir()} == {
        "data_docs", "summary.html", "validation.json",
    }  # fmt: skip


GUARDED = """
import sys
def guard(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise RuntimeError(f"{event} {arguments}")
sys.addaudithook(guard)
from pathlib import Path
import polars as pl
from plmsae.quality.validation import validate
frame = pl.DataFrame({"accession": ["P1"], "start": [0], "end": [4], "concept": ["Motif"]})
report = validate("labels", frame, out_dir=Path(sys.argv[1]))
import os, time
time.sleep(0.3)  # a reporting thread would have its chance
assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
assert not report.success
"""


def test_no_connection_is_made_and_nothing_is_printed(tmp_path: Path) -> None:
    environment = {**os.environ, "GX_ANALYTICS_ENABLED": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    # Only the warnings of plmsae itself, by logging's handler of last resort.
    assert all(line.startswith("labels: ") for line in done.stderr.splitlines()), done.stderr


def test_importing_the_module_does_not_import_what_is_slow() -> None:
    code = (
        "import sys, plmsae.quality.validation, plmsae.reports.render, plmsae.reports.plots;"
        "print({'great_expectations', 'pandas', 'anthropic', 'matplotlib', 'jinja2', 'torch', "
        "'mlflow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert done.stdout.strip() == "set()"
