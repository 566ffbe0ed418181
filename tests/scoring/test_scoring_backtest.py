"""Labels that were known, hidden, proposed again and counted."""

from __future__ import annotations

import polars as pl
import pytest
from scoring_fakes import FakeBundle, FakeEncoder, concept_rows

from plmsae.concepts.labels.label_holdout import hide_labels
from plmsae.concepts.labels.label_table import labels_from_uniprot
from plmsae.proteins.uniprot import read_table
from plmsae.scoring.backtest import HIDINGS, backtest
from plmsae.scoring.fill import FillResult, fill
from plmsae.scoring.folder import ScoreFolder
from plmsae.scoring.overlap import overlaps
from plmsae.scoring.truth import totals

CONCEPTS = concept_rows(
    ("Domain: W-rich", "span", "W", 0.9, 0.85),
    ("Domain", "span", "W", 0.9, 0.85),
    ("Coiled coil", "span", "L", 0.2, 0.1),
)
N = 200


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> FillResult:
    """Nine proteins in ten have a W box with its label, one a W box without; each has some Ls."""
    folder = tmp_path_factory.mktemp("backtest")
    lines = ["Entry\tLength\tSequence\tDomain [FT]\tCoiled coil"]
    for i in range(N):
        sequence = "A" * (i % 7) + "WWWW" + "G" * 9 + "LLLL"
        first = i % 7 + 1
        label = f'DOMAIN {first}..{first + 3}; /note="W-rich"' if i % 10 else ""
        lines.append(f"P{i:03d}\t{len(sequence)}\t{sequence}\t{label}\t")
    path = folder / "table.tsv"
    path.write_text("\n".join(lines) + "\n")
    return fill(
        path,
        FakeBundle(concepts=CONCEPTS),
        folder / "out",
        model_uri="fake/1",
        encoder=FakeEncoder(),
        part_residues=900,
    )


def run(filled: FillResult, **changed: float) -> pl.DataFrame:
    clusters = {f"P{i:03d}": i // 5 for i in range(N)}
    settings = {"hide_share": 0.1, "min_precision": 0.3, "seed": 0} | changed
    folder = ScoreFolder(filled.path / "scores")
    return backtest(folder, filled.labels, CONCEPTS, clusters, **settings)  # type: ignore[arg-type]


def test_what_was_hidden_comes_back_and_the_promise_is_kept(filled: FillResult) -> None:
    table = run(filled)
    assert table["hiding"].unique(maintain_order=True).to_list() == list(HIDINGS)
    for hiding in HIDINGS:
        rows = {r["concept"]: r for r in table.filter(hiding=hiding).iter_rows(named=True)}
        assert set(rows) == {"Domain", "Domain: W-rich"}  # nothing else was labelled or speaks
        assert rows["Domain"]["hidden"] == rows["Domain"]["recovered"]
        assert rows["Domain"]["proposed"] == 0  # its member is proposed, and implies it
        row = rows["Domain: W-rich"]
        assert row["hidden"] == row["recovered"] == row["correct"] > 0
        assert row["proposed"] == row["hidden"] + N // 10  # the W boxes that never had a label
        assert row["promised"] == pytest.approx(0.09 / (0.09 + 0.1))
        assert row["precision_low"] < row["promised"] < row["precision_high"]
    sums = totals(table.filter(hiding="random"))
    assert sums["recall"] == 1
    assert sums["precision"] == sums["correct"] / sums["proposed"]


def test_whole_families_are_hidden(filled: FillResult) -> None:
    table = run(filled, hide_share=0.3)
    random, cluster = (table.filter(hiding=way, concept="Domain") for way in HIDINGS)
    # Every other family of five has one member without a label.
    assert cluster["hidden"].item() % 5 in range(5)
    clusters = {f"P{i:03d}": i // 5 for i in range(N)}
    kept, hidden = hide_labels(filled.labels, 0.3, 0, clusters)
    families = [{clusters[a] for a in frame["accession"]} for frame in (kept, hidden)]
    assert not families[0] & families[1]
    assert hidden.filter(concept="Domain").height == cluster["hidden"].item()
    assert random["hidden"].item() > 0


def test_a_visible_label_is_never_proposed(filled: FillResult) -> None:
    from plmsae.scoring.backtest import calls_without_label

    kept, _ = hide_labels(filled.labels, 0.5, 2)
    folder = ScoreFolder(filled.path / "scores")
    parts = range(folder.manifest().n_parts)
    assert len(parts) > 2
    calls = pl.concat([calls_without_label(folder.read("annotations", i), kept) for i in parts])
    assert calls.height
    assert not overlaps(calls, kept, relation="related").any()


def test_the_seed_decides_what_is_hidden(filled: FillResult) -> None:
    assert run(filled).equals(run(filled))
    assert not run(filled, seed=1)["hidden"].equals(run(filled)["hidden"])


def test_a_concept_that_cannot_promise_enough_proposes_nothing(filled: FillResult) -> None:
    table = run(filled, min_precision=0.5)
    assert table["proposed"].sum() == 0
    assert table["hidden"].sum() > 0
    assert table["precision"].null_count() == table.height
    assert "precision" not in totals(table)


def test_proposals_promise_less_than_calls_and_abstain_by_that(filled: FillResult) -> None:
    low = 0.085 / (0.085 + 0.15)
    path = filled.path.parent / "table.tsv"
    bundle, encoder = FakeBundle(concepts=CONCEPTS), FakeEncoder()
    made = fill(path, bundle, filled.path, model_uri="fake/1", encoder=encoder, part_residues=900,
                min_precision=0.3)  # fmt: skip
    proposals = made.proposals()
    assert encoder.calls == 0
    assert proposals.height == made.n_implied == N // 10
    assert proposals["implied"].to_list() == [["Domain"]] * (N // 10)
    assert proposals["call_precision"].unique().to_list() == [0.9]
    assert proposals["precision_low"].unique().to_list() == [pytest.approx(low)]
    assert (proposals["precision"] < proposals["precision_high"]).all()
    abstained = pl.read_parquet(made.abstained_path)
    assert abstained["concept"].to_list() == ["Coiled coil"]
    assert "where the table has no label" in abstained["reason"].item()
    labels = labels_from_uniprot(read_table(path))
    assert not overlaps(proposals, labels, relation="related").any()


def test_a_concept_of_which_nothing_is_missing_proposes_nothing(filled: FillResult) -> None:
    path = filled.path.parent / "table.tsv"
    bundle = FakeBundle(concepts=CONCEPTS)
    made = fill(path, bundle, filled.path, model_uri="fake/1", encoder=FakeEncoder(),
                part_residues=900, min_precision=0.01,
                missing_shares={"Domain": 0.0, "Coiled coil": 0.5})  # fmt: skip
    proposals = made.proposals()
    assert set(proposals["concept"]) == {"Coiled coil"}
    assert proposals["precision"].unique().to_list() == [pytest.approx(0.1 / (0.1 + 0.8))]
    abstained = pl.read_parquet(made.abstained_path)
    assert set(abstained["concept"]) == {"Domain", "Domain: W-rich"}
    assert made.n_calls == made.n_known + made.n_withheld + made.n_implied + made.n_proposed
