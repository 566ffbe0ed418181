from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from scoring_fakes import (
    CONCEPTS,
    LETTERS,
    TOO_LONG,
    FakeBundle,
    FakeEncoder,
    FakeMeta,
    concept_rows,
    contents,
    encode_one,
    proteome,
    table,
    write_fasta,
)

from plmsae.core import atomic
from plmsae.core.errors import InputError, PlmsaeError
from plmsae.scoring.engine import ScoreProgress, check_arguments, score
from plmsae.scoring.folder import ScoreFolder
from plmsae.scoring.manifest import Manifest
from plmsae.scoring.schema import TABLES

MEASURED = set(CONCEPTS.filter(pl.col("call_precision_low").is_not_null())["concept"])


def run(source: Path | str, out: Path, **changed: Any) -> Manifest:
    arguments: dict[str, Any] = {
        "bundle": FakeBundle(),
        "encoder": FakeEncoder(),
        "model_uri": "fake/1",
        "part_residues": 400,
    }
    return score(source, out=out, **(arguments | changed))


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    return write_fasta(tmp_path / "proteome.fasta", proteome())


# What is written.


def test_every_record_is_scored_or_rejected_with_its_reason(fasta: Path, tmp_path: Path) -> None:
    manifest = run(fasta, tmp_path / "out")
    assert (manifest.n_read, manifest.n_scored, manifest.n_rejected) == (30, 24, 6)
    assert manifest.n_parts > 3
    scored, rejected = table(tmp_path / "out", "proteins"), table(tmp_path / "out", "rejected")
    assert sorted([*scored["accession"], *rejected["accession"]]) == [n for n, _ in proteome()]
    assert scored["accession"].to_list() == sorted(scored["accession"])  # the input's order
    reasons = dict(rejected.select("accession", "reason").iter_rows())
    assert "'-' at position 3" in reasons["P00003"]
    assert reasons["P00007"] == "the vocabulary lacks Z"
    assert rejected["where"].str.contains("proteome.fasta, record ").all()


def test_the_counts_of_the_manifest_are_those_of_the_tables(fasta: Path, tmp_path: Path) -> None:
    manifest = run(fasta, tmp_path / "out", write_features=True)
    tables = {name: table(tmp_path / "out", name) for name in TABLES}
    assert manifest.n_annotations == tables["annotations"].height > 0
    assert manifest.n_features == tables["features"].height > 0
    assert manifest.n_residues == tables["proteins"]["length"].sum()
    assert tables["proteins"]["n_annotations"].sum() == manifest.n_annotations
    assert Manifest.read(tmp_path / "out" / "manifest.json") == manifest


def test_every_file_has_the_documented_schema(fasta: Path, tmp_path: Path) -> None:
    run(fasta, tmp_path / "out", write_features=True)
    for name, schema in TABLES.items():
        files = list((tmp_path / "out" / name).iterdir())
        assert files
        assert all(pq.read_schema(file).equals(schema) for file in files)


def test_annotations_are_the_runs_of_a_letter_that_fire_above_the_threshold(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "x.fasta", [("P1", "AWWWAKAAWA"), ("P2", "AAAA"), ("P3", "HA")])
    run(fasta, tmp_path / "out", unmeasured=True)
    rows = table(tmp_path / "out", "annotations").drop("model_uri", "probability").rows()
    w, k, h = (LETTERS.index(letter) for letter in "WKH")
    third = np.float32(1) / np.float32(3)
    assert rows == [
        ("P1", 2, 4, "Domain", 1.0, 0.8, 0.7, [w], []),
        ("P1", 2, 4, "Domain: W-rich", 1.0, 0.95, 0.9, [w], ["Domain"]),
        ("P1", 6, 6, "Binding site: ATP", third, 0.6, 0.5, [k], ["Binding site"]),
        ("P1", 9, 9, "Domain", third, 0.8, 0.7, [w], []),
        ("P1", 9, 9, "Domain: W-rich", third, 0.95, 0.9, [w], ["Domain"]),
        ("P3", 1, 1, "Active site", third, None, None, [h], []),
    ]
    proteins = table(tmp_path / "out", "proteins")
    assert proteins.select("accession", "length", "status", "n_annotations").rows() == [
        ("P1", 10, "scored", 5),
        ("P2", 4, "scored", 0),
        ("P3", 2, "scored", 1),
    ]


def test_two_latents_of_one_concept_make_one_annotation_where_they_overlap(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "x.fasta", [("P1", "LELAAAAEE")])
    run(fasta, tmp_path / "out")
    rows = table(tmp_path / "out", "annotations").select("start", "end", "precision", "latents")
    leu, glu = LETTERS.index("L"), LETTERS.index("E")
    assert rows.rows() == [(1, 3, 0.9, [leu, glu]), (8, 9, 0.7, [glu])]


def test_rows_do_not_depend_on_where_parts_are_cut(fasta: Path, tmp_path: Path) -> None:
    run(fasta, tmp_path / "one", part_residues=1, write_features=True)
    run(fasta, tmp_path / "all", part_residues=10**6, write_features=True)
    assert len(list((tmp_path / "all" / "proteins").iterdir())) == 1
    for name in ("annotations", "proteins"):
        assert table(tmp_path / "one", name).equals(table(tmp_path / "all", name))
    for name in ("features", "rejected"):
        key = table(tmp_path / "one", name).columns[:3]
        one, every = (table(tmp_path / folder, name).sort(key) for folder in ("one", "all"))
        assert one.equals(every)


def test_features_are_the_encoder_s_latents_sorted_by_latent(fasta: Path, tmp_path: Path) -> None:
    run(fasta, tmp_path / "out", write_features=True, part_residues=10**6)
    found = table(tmp_path / "out", "features")
    expected = []
    for accession in table(tmp_path / "out", "proteins")["accession"]:
        latents = encode_one(dict(proteome())[accession]).tocoo()
        columns = (latents.coords[0].tolist(), latents.coords[1].tolist(), latents.data.tolist())
        for row, latent, value in zip(*columns, strict=True):
            expected.append((accession, row + 1, latent, value))
    assert found.rows() == sorted(expected, key=lambda row: (row[2], row[0], row[1]))


def test_a_sequence_that_comes_again_in_a_part_is_encoded_once(tmp_path: Path) -> None:
    # P00007 and its twin cannot be encoded.
    proteins = proteome(20)
    twins = [(f"TWIN{i}", sequence) for i, (_, sequence) in enumerate(proteins[:10])]
    fasta = write_fasta(tmp_path / "x.fasta", [*proteins, *twins])
    encoder, states = FakeEncoder(), list[ScoreProgress]()
    options = {"write_features": True, "part_residues": 10**6}
    manifest = run(fasta, tmp_path / "out", encoder=encoder, progress=states.append, **options)
    assert len(encoder.encoded) == len(set(encoder.encoded)) == 16
    assert (manifest.n_read, manifest.n_scored, manifest.n_rejected) == (30, 16 + 8, 4 + 2)
    assert states[-1].residues == states[-1].total_residues
    for name in ("annotations", "features", "proteins"):
        rows = table(tmp_path / "out", name)
        for i, (accession, _) in enumerate(proteins[:10]):
            first, twin = (
                rows.filter(accession=a).drop("accession") for a in (accession, f"TWIN{i}")
            )
            assert twin.equals(first)
        # What the others get is what they get without twins.
        run(
            write_fasta(tmp_path / "y.fasta", proteins),
            tmp_path / "alone",
            encoder=FakeEncoder(),
            **options,
        )
        others = rows.filter(~pl.col("accession").str.starts_with("TWIN"))
        assert others.equals(table(tmp_path / "alone", name))
    reasons = table(tmp_path / "out", "rejected")
    assert reasons.filter(reason="the vocabulary lacks Z")["accession"].to_list() == [
        "P00007",
        "P00017",
        "TWIN7",
    ]


def test_a_protein_unit_call_covers_the_whole_protein(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "x.fasta", [("P1", "AAAA"), ("P2", "WWWWWW")])
    bundle = FakeBundle(meta=FakeMeta(unit="protein"))
    run(
        fasta,
        tmp_path / "out",
        bundle=bundle,
        encoder=FakeEncoder(unit="protein"),
        write_features=True,
    )
    annotations = table(tmp_path / "out", "annotations")
    assert set(annotations.select("accession", "start", "end").rows()) == {("P2", 1, 6)}
    features = table(tmp_path / "out", "features")
    assert features.select("accession", "position").rows() == [("P1", None), ("P2", None)]


def test_calls_below_the_precision_asked_for_are_left_out(fasta: Path, tmp_path: Path) -> None:
    run(fasta, tmp_path / "all", min_precision=0.0, unmeasured=True)
    run(fasta, tmp_path / "few", min_precision=0.7)
    every, few = table(tmp_path / "all", "annotations"), table(tmp_path / "few", "annotations")
    # The member may speak, and the class is in its column `implied`.
    assert set(few["concept"]) == {"Domain: W-rich", "Coiled coil"}
    assert every["precision_low"].null_count() > 0
    domains = pl.col("concept") == "Domain: W-rich"
    assert few.filter(domains).equals(every.filter(domains))


def test_the_bundle_s_own_precision_holds_unless_another_is_asked_for(
    fasta: Path, tmp_path: Path
) -> None:
    bundle = FakeBundle(meta=FakeMeta(min_precision=0.9))
    run(fasta, tmp_path / "own", bundle=bundle)
    run(fasta, tmp_path / "all", bundle=bundle, min_precision=0.0)
    assert set(table(tmp_path / "own", "annotations")["concept"]) == {"Domain: W-rich"}
    assert set(table(tmp_path / "all", "annotations")["concept"]) == MEASURED - {"Domain"}


def test_zero_asks_for_every_measured_precision_and_not_for_none(
    fasta: Path, tmp_path: Path
) -> None:
    run(fasta, tmp_path / "measured", min_precision=0.0)
    run(fasta, tmp_path / "every", min_precision=0.0, unmeasured=True)
    measured = table(tmp_path / "measured", "annotations")
    every = table(tmp_path / "every", "annotations")
    assert set(measured["concept"]) == MEASURED - {"Domain"}
    assert measured["precision_low"].null_count() == 0
    assert set(every["concept"]) == set(CONCEPTS["concept"])
    known = every.filter(pl.col("precision_low").is_not_null(), pl.col("concept") != "Domain")
    assert known.equals(measured)


def test_a_class_is_called_where_no_member_meets_the_precision(tmp_path: Path) -> None:
    concepts = concept_rows(
        ("Domain: W-rich", "span", "W", 0.6, 0.5), ("Domain", "span", "W", 0.9, 0.8)
    )
    fasta = write_fasta(tmp_path / "x.fasta", [("P1", "AWWWAKAA")])
    for bar, expected in ((0.7, [("Domain", [])]), (0.4, [("Domain: W-rich", ["Domain"])])):
        out = tmp_path / str(bar)
        manifest = run(fasta, out, bundle=FakeBundle(concepts=concepts), min_precision=bar)
        rows = table(out, "annotations").select("concept", "implied").rows()
        assert rows == expected
        assert manifest.n_implied == len(expected[0][1])


def test_what_is_wrong_whatever_the_input_says_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.doc").write_text("")
    for out, message in (("file", "is a file"), ("folder", "thesis.doc")):
        with pytest.raises(InputError, match=message):
            check_arguments(tmp_path / out)
    with pytest.raises(InputError, match="between 0 and 1"):
        check_arguments(tmp_path / "new", min_precision=2.0)
    check_arguments(tmp_path / "new", min_precision=0.5)
    assert not (tmp_path / "new").exists()


def test_a_protein_longer_than_the_window_is_marked(fasta: Path, tmp_path: Path) -> None:
    encoder = FakeEncoder()
    encoder.plm = type("Plm", (), {"max_residues": 60})()  # type: ignore[attr-defined]
    run(fasta, tmp_path / "out", encoder=encoder)
    proteins = table(tmp_path / "out", "proteins")
    expected = ["windowed" if n > 60 else "scored" for n in proteins["length"]]
    assert proteins["status"].to_list() == expected
    assert len(set(expected)) == 2


def test_the_manifest_holds_no_time_and_no_folder(fasta: Path, tmp_path: Path) -> None:
    run(fasta, tmp_path / "a")
    run(fasta, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    text = (tmp_path / "a" / "manifest.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["input"] == "proteome.fasta"
    assert json.loads((tmp_path / "a" / "timing.json").read_text())["parts_scored"] > 3


# Proteins that cannot be encoded.


def test_a_protein_that_does_not_fit_into_memory_costs_only_itself(tmp_path: Path) -> None:
    proteins = [*proteome(bad=False), ("LONG", "A" * (TOO_LONG + 1))]
    fasta = write_fasta(tmp_path / "x.fasta", proteins)
    manifest = run(fasta, tmp_path / "out", part_residues=10**6)
    assert (manifest.n_scored, manifest.n_rejected) == (30, 1)
    assert table(tmp_path / "out", "rejected")["reason"].to_list() == [
        "it does not fit into memory"
    ]


def test_latents_that_are_not_finite_reject_their_protein(tmp_path: Path) -> None:
    class Broken(FakeEncoder):
        def encode(self, sequences: Any) -> Any:
            arrays = super().encode(sequences)
            for sequence, array in zip(sequences, arrays, strict=True):
                if sequence == "WAW":
                    array.data[0] = np.nan
            return arrays

    fasta = write_fasta(tmp_path / "x.fasta", [("P1", "WAW"), ("P2", "WAWA")])
    run(fasta, tmp_path / "out", encoder=Broken())
    assert table(tmp_path / "out", "proteins")["accession"].to_list() == ["P2"]
    assert "not finite" in table(tmp_path / "out", "rejected")["reason"][0]


def test_when_nothing_can_be_encoded_the_run_stops_instead_of_rejecting_all(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "x.fasta", [(f"P{i}", "AZA") for i in range(8)])
    with pytest.raises(InputError, match=r"no protein could be encoded.*lacks Z"):
        run(fasta, tmp_path / "out")


def test_an_error_that_is_not_about_proteins_is_not_swallowed(fasta: Path, tmp_path: Path) -> None:
    class Broken(FakeEncoder):
        def encode(self, sequences: Any) -> Any:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        run(fasta, tmp_path / "out", encoder=Broken())
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_latents_of_the_wrong_shape_stop_the_run(fasta: Path, tmp_path: Path) -> None:
    with pytest.raises(PlmsaeError, match="shape"):
        run(fasta, tmp_path / "out", bundle=FakeBundle(meta=FakeMeta(d_sae=21)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [("A-A", "illegal character '-'.*position 2"), ("AZA", "P1: the vocabulary lacks Z")],
)
def test_strict_stops_at_the_first_bad_record(tmp_path: Path, bad: str, message: str) -> None:
    fasta = write_fasta(tmp_path / "x.fasta", [("P0", "AAA"), ("P1", bad)])
    with pytest.raises(InputError, match=message):
        run(fasta, tmp_path / "out", strict=True)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_strict_is_not_dodged_by_resuming_a_run_that_was_not(fasta: Path, tmp_path: Path) -> None:
    proteins = [(n, s) for n, s in proteome() if "-" not in s]
    write_fasta(fasta, proteins)
    run(fasta, tmp_path / "out")
    with pytest.raises(InputError, match="P00007: the vocabulary lacks Z"):
        run(fasta, tmp_path / "out", strict=True)


def test_a_bad_input_leaves_no_folder_behind(tmp_path: Path) -> None:
    (tmp_path / "empty.fasta").write_text("")
    with pytest.raises(InputError):
        run(tmp_path / "empty.fasta", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Killed and resumed.


def renames(do: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """Count the renames of a whole run."""
    count = 0
    replace = Path.replace

    def counting(self: Path, target: Any) -> Path:
        nonlocal count
        count += 1
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", counting)
        do()
    return count


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [False, True])
def test_a_run_stopped_at_any_rename_resumes_to_the_same_bytes(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    options = {"part_residues": 700, "write_features": True}
    total = renames(lambda: run(fasta, tmp_path / "whole", **options), monkeypatch)
    assert total > 10
    whole = contents(tmp_path / "whole")
    replace = Path.replace
    for stop in range(total):
        out = tmp_path / f"stopped-{stop}"
        left = stop

        def dying(self: Path, target: Any) -> Path:
            nonlocal left
            left -= 1
            if left < 0 and not after:
                raise Killed
            replaced = replace(self, target)
            if left < 0:
                raise Killed
            return replaced

        with monkeypatch.context() as patch, pytest.raises(Killed):  # noqa: PT012
            patch.setattr(Path, "replace", dying)
            run(fasta, out, **options)
        assert (out / "manifest.json").exists() == (after and stop == total - 1)
        run(fasta, out, **options)
        assert contents(out) == whole, f"stopped at rename {stop}"


def test_finished_parts_are_not_encoded_again(fasta: Path, tmp_path: Path) -> None:
    class Dying(FakeEncoder):
        def encode(self, sequences: Any) -> Any:
            if self.calls == 12:
                raise Killed
            return super().encode(sequences)

    first, second, whole = Dying(), FakeEncoder(), FakeEncoder()
    with pytest.raises(Killed):
        run(fasta, tmp_path / "out", encoder=first)
    done = table(tmp_path / "out", "proteins")["accession"].to_list()
    assert done
    run(fasta, tmp_path / "out", encoder=second)
    run(fasta, tmp_path / "whole", encoder=whole)
    sequences = dict(proteome())
    assert not set(second.encoded) & {sequences[accession] for accession in done}
    assert sorted({*first.encoded, *second.encoded}) == sorted(set(whole.encoded))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    timing = json.loads((tmp_path / "out" / "timing.json").read_text())
    assert (
        timing["parts_reused"]
        == len(list((tmp_path / "out" / "parts").glob("0*"))) - (timing["parts_scored"])
    )


def test_a_finished_run_asks_for_no_encoder(fasta: Path, tmp_path: Path) -> None:
    def never() -> FakeEncoder:
        raise AssertionError("the model was loaded")

    first = run(fasta, tmp_path / "out")
    before = contents(tmp_path / "out")
    assert run(fasta, tmp_path / "out", encoder=never) == first
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("damage", ["cut", "remove", "marker"])
def test_a_damaged_part_is_made_again(fasta: Path, tmp_path: Path, damage: str) -> None:
    run(fasta, tmp_path / "out")
    whole = contents(tmp_path / "out")
    target = tmp_path / "out" / "annotations" / "part-00001.parquet"
    if damage == "cut":
        target.write_bytes(target.read_bytes()[:-20])
    elif damage == "remove":
        target.unlink()
    else:
        (tmp_path / "out" / "parts" / "00001.json").write_text('{"index": 1')
    encoder = FakeEncoder()
    run(fasta, tmp_path / "out", encoder=encoder)
    assert contents(tmp_path / "out") == whole
    assert 0 < len(encoder.encoded) < 24


def test_while_a_part_is_made_again_the_folder_does_not_look_complete(
    fasta: Path, tmp_path: Path
) -> None:
    run(fasta, tmp_path / "out")
    (tmp_path / "out" / "proteins" / "part-00002.parquet").unlink()

    class Dying(FakeEncoder):
        def encode(self, sequences: Any) -> Any:
            raise Killed

    with pytest.raises(Killed):
        run(fasta, tmp_path / "out", encoder=Dying())
    with pytest.raises(InputError, match=r"not complete.*run the same score again"):
        ScoreFolder(tmp_path / "out").manifest()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model_uri": "fake/2"}, "model_uri"),
        ({"bundle": FakeBundle(concepts=CONCEPTS[:2])}, "model_sha256"),
        ({"part_residues": 300}, "part_residues"),
        ({"write_features": True}, "write_features"),
        ({"min_precision": 0.5}, "min_precision"),
        ({"unmeasured": True}, "unmeasured"),
        ({"settings": {"device": "cuda"}}, "settings"),
    ],
)
def test_a_folder_of_another_run_is_refused_and_left_alone(
    fasta: Path, tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    run(fasta, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=f"belongs to another run: its {named} is"):
        run(fasta, tmp_path / "out", **changed)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("change", ["first", "last", "longer", "shorter"])
def test_a_folder_of_another_input_is_refused(fasta: Path, tmp_path: Path, change: str) -> None:
    run(fasta, tmp_path / "out")
    proteins = proteome()
    if change == "first":
        proteins[0] = ("P00000", "AAAA")
    elif change == "last":
        proteins[-1] = ("OTHER", proteins[-1][1])
    elif change == "longer":
        proteins.append(("P99999", "AAAA"))
    else:
        # Cut where a part ends: every part that is left fits, and the others are too many.
        last = table(tmp_path / "out", "proteins")["accession"]
        part = pl.read_parquet(tmp_path / "out" / "proteins" / "part-00000.parquet")["accession"]
        proteins = proteins[: [n for n, _ in proteins].index(part[-1]) + 1]
        assert len(last) > len(part)
    write_fasta(fasta, proteins)
    with pytest.raises(InputError, match="belongs to another input"):
        run(fasta, tmp_path / "out")


def test_starting_over_replaces_a_run_of_another_model(fasta: Path, tmp_path: Path) -> None:
    run(fasta, tmp_path / "out", part_residues=100, write_features=True)
    run(fasta, tmp_path / "out", model_uri="fake/2", resume=False)
    run(fasta, tmp_path / "fresh", model_uri="fake/2")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("name", ["notes.txt", "features/mine.csv", "proteins/part-1.parquet"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(
    fasta: Path, tmp_path: Path, name: str, resume: bool
) -> None:
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(InputError, match="something else than a score run"):
        run(fasta, tmp_path / "out", resume=resume)
    assert file.read_text() == "mine"


def test_an_output_that_is_a_file_is_refused(fasta: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        run(fasta, tmp_path / "out")


def test_two_runs_may_not_write_one_folder_at_once(fasta: Path, tmp_path: Path) -> None:
    other = None

    class Meddling(FakeEncoder):
        def encode(self, sequences: Any) -> Any:
            nonlocal other
            if other is None:
                with pytest.raises(InputError, match=r"another run is writing here.*process \d+"):
                    run(fasta, tmp_path / "out")
                other = "refused"
            return super().encode(sequences)

    run(fasta, tmp_path / "out", encoder=Meddling())
    assert other == "refused"
    run(fasta, tmp_path / "out")


def test_an_input_that_changes_meanwhile_is_scored_as_it_was_read(
    fasta: Path, tmp_path: Path
) -> None:
    class Meddling(FakeBundle):
        @property
        def digest(self) -> str:  # asked for after the first look at the input
            with fasta.open("a") as handle:
                handle.write(">NEW\nAAAA\n")
            return super().digest

    whole = run(fasta, tmp_path / "before")
    found = run(fasta, tmp_path / "out", bundle=Meddling())
    assert (found.n_read, found.input_sha256) == (whole.n_read, whole.input_sha256)


KILL = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from test_scoring_engine import run
left, replace = int(sys.argv[3]), Path.replace
def dying(self, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = dying
run(Path(sys.argv[1]), Path(sys.argv[2]), write_features=True, part_residues=700)
"""


@pytest.mark.parametrize("stop", [0, 4, 8, 13])
def test_a_run_killed_by_the_system_resumes_to_the_same_bytes(
    fasta: Path, tmp_path: Path, stop: int
) -> None:
    out, tests = tmp_path / "out", Path(__file__).parent
    command = [sys.executable, "-c", KILL, str(fasta), str(out), str(stop), str(tests)]
    killed = subprocess.run(command, capture_output=True, timeout=60, cwd=tests.parents[1])
    assert killed.returncode == -9, killed.stderr.decode()
    assert not (out / "manifest.json").exists()
    assert any(".tmp." in path.name for path in out.rglob("*"))  # it had no time to tidy up
    run(fasta, out, write_features=True, part_residues=700)
    run(fasta, tmp_path / "whole", write_features=True, part_residues=700)
    assert contents(out) == contents(tmp_path / "whole")


# Streams and progress.


def test_standard_input_gives_the_same_rows_as_the_file(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[ScoreProgress] = []
    run(fasta, tmp_path / "file")
    stream = io.TextIOWrapper(io.BytesIO(fasta.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    manifest = run("-", tmp_path / "stream", progress=states.append)
    assert manifest.input == "-"
    assert states[-1].total_residues is None
    assert manifest.input_sha256 == Manifest.read(tmp_path / "file/manifest.json").input_sha256
    for name in ("annotations", "proteins"):
        assert table(tmp_path / "stream", name).equals(table(tmp_path / "file", name))


def test_progress_rises_to_the_total_and_tells_reused_work_apart(
    fasta: Path, tmp_path: Path
) -> None:
    states: list[ScoreProgress] = []
    run(fasta, tmp_path / "out", progress=states.append)
    residues = [state.residues for state in states]
    assert residues == sorted(residues)
    assert len(set(residues)) > 6  # more often than once a part
    assert states[-1].proteins == states[-1].total_proteins == 27  # of 30, 3 cannot be read
    assert states[-1].residues == states[-1].total_residues
    assert states[-1].reused_residues == 0
    states.clear()
    run(fasta, tmp_path / "out", progress=states.append)
    assert states[-1].reused_residues == states[-1].residues == states[-1].total_residues


@pytest.mark.parametrize(
    "changed", [{"part_residues": 0}, {"min_precision": 1.5}, {"min_precision": -0.1}]
)
def test_arguments_out_of_range_are_refused(
    fasta: Path, tmp_path: Path, changed: dict[str, Any]
) -> None:
    with pytest.raises(InputError):
        run(fasta, tmp_path / "out", **changed)


def test_a_manifest_of_another_format_is_refused(fasta: Path, tmp_path: Path) -> None:
    run(fasta, tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    value = json.loads(path.read_text())
    value["identity"]["format"] = 99
    atomic.write_json(path, value)
    with pytest.raises(InputError, match="format 99"):
        Manifest.read(path)
    path.write_text("{}")
    with pytest.raises(InputError, match="not a score manifest"):
        Manifest.read(path)
