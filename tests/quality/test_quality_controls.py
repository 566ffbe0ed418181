"""Gates against controls: each with data that must fail it, and data that must not."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from plmsae.concepts.calling.place_matching import right_calls
from plmsae.quality.measures import controls
from plmsae.quality.report import ExpectationResult, ValidationReport
from plmsae.quality.residue_rules import residue_rules
from plmsae.quality.validation import validate

N = 200
SEQUENCE = "MKCNASTPNPSYGCWWWWWWWWWWWWWWWW"
PROTEINS = pl.DataFrame(
    {"accession": [f"P{i}" for i in range(N)], "length": [30] * N, "sequence": [SEQUENCE] * N}
)


def calls(*rows: tuple[str, int, int], repeat: int = 1, **changes: object) -> pl.DataFrame:
    """One call for each (concept, start, end) on each of the first `repeat` proteins."""
    made = [(f"P{i}", *row) for i in range(repeat) for row in rows]
    frame = pl.DataFrame(made, schema=["accession", "concept", "start", "end"], orient="row")
    return frame.with_columns(
        score=pl.lit(0.5),
        precision=pl.lit(0.9),
        precision_low=pl.lit(0.8),
        model_uri=pl.lit("models:/m/1"),
        **{name: pl.Series(value) if isinstance(value, list) else value
           for name, value in changes.items()},
    )  # fmt: skip


def check(
    table: pl.DataFrame, out: Path, kind: str = "annotations", **context: object
) -> ValidationReport:
    return validate(kind, table, out_dir=out, context={"proteins": PROTEINS, **context})


def named(report: ValidationReport, name: str) -> ExpectationResult:
    return next(result for result in report.results if result.name == name)


POSSIBLE = [
    ("Disulfide bond", 3, 14),
    ("Disulfide bond", 14, 14),
    ("Glycosylation: N-linked (GlcNAc...) asparagine", 4, 4),
    ("Signal peptide", 2, 20),
    ("Modified residue: Phosphoserine", 6, 6),
    ("Modified residue: Phosphoserine; by host", 1, 1),
    ("Modified residue: Phosphotyrosine", 12, 12),
    ("Initiator methionine", 1, 1),
    ("Domain: SH3", 5, 9),
]
IMPOSSIBLE = [
    ("Disulfide bond", 4, 14),
    ("Disulfide bond", 3, 15),
    ("Disulfide bond: Interchain", 2, 2),
    ("Glycosylation: N-linked (GlcNAc...) asparagine", 9, 9),  # N-P-S
    ("Glycosylation: N-linked (GlcNAc...) asparagine", 5, 5),
    ("Signal peptide", 15, 30),
    ("Modified residue: Phosphoserine", 7, 7),
    ("Initiator methionine", 2, 2),
]


@pytest.mark.parametrize("kind", ["annotations", "proposals"])
def test_calls_on_residues_that_cannot_be_are_found(tmp_path: Path, kind: str) -> None:
    good = check(calls(*POSSIBLE[:5], *POSSIBLE[6:]), tmp_path, kind, sequences=PROTEINS)
    assert named(good, "residues_possible").success is True
    bad = check(calls(*IMPOSSIBLE, repeat=60), tmp_path, kind, sequences=PROTEINS)
    result = named(bad, "residues_possible")
    assert result.success is False
    # Of equally bad concepts in the order of their names.
    assert "Disulfide bond: Interchain (60 of 60): P0, KCN at 2: disulfide bonds join cyst" in (
        " ".join(result.examples)
    )
    broken = {text.split(" (")[0] for text in result.examples}
    assert len(broken) == 5
    assert broken < {name.split(" (")[0] for name, _, _ in IMPOSSIBLE}


def test_a_rare_concept_that_is_always_wrong_is_found_beside_many_good_calls(
    tmp_path: Path,
) -> None:
    many = calls(("Transmembrane: Helical", 5, 25), ("Signal peptide", 1, 20), repeat=N)
    wrong = calls(("Disulfide bond", 2, 2), repeat=9)
    result = named(
        check(pl.concat([many, wrong]), tmp_path, sequences=PROTEINS), "residues_possible"
    )
    assert result.success is False
    assert result.examples == (
        "Disulfide bond (9 of 9): P0, KCN at 2: disulfide bonds join cysteines",
    )
    without = named(check(many.head(N), tmp_path, sequences=PROTEINS), "residues_possible")
    assert (without.success, without.value) == (True, 0.0)
    unruled = calls(("Domain: SH3", 5, 9))
    assert named(check(unruled, tmp_path, sequences=PROTEINS), "residues_possible").success is None


def test_rules_hold_for_members_of_a_class_and_not_for_other_names() -> None:
    rule = next(rule for rule in residue_rules() if rule.concept == "Disulfide bond")
    assert rule.applies("Disulfide bond")
    assert rule.applies("Disulfide bond: Interchain")
    assert not rule.applies("Disulfide bonding")
    assert not rule.applies("Disulfide")


def test_without_sequences_residues_are_unchecked(tmp_path: Path) -> None:
    assert named(check(calls(*IMPOSSIBLE), tmp_path), "residues_possible").success is None


def labels(n_membrane: int, n_soluble: int) -> pl.DataFrame:
    rows = [(f"P{i}", 5, 25, "Transmembrane: Helical", "span") for i in range(n_membrane)]
    rows += [(f"P{n_membrane + i}", 5, 25, "Domain: X", "span") for i in range(n_soluble)]
    return pl.DataFrame(rows, schema=["accession", "start", "end", "concept", "kind"], orient="row")


@pytest.mark.parametrize("kind", ["annotations", "proposals"])
def test_transmembrane_calls_on_soluble_proteins_are_counted(tmp_path: Path, kind: str) -> None:
    table = calls(("Transmembrane", 5, 25), repeat=60)
    good = named(check(table, tmp_path, kind, labels=labels(60, 100)), "soluble_without_membrane")
    assert (good.success, good.value) == (True, 0.0)
    bad = named(check(table, tmp_path, kind, labels=labels(40, 100)), "soluble_without_membrane")
    assert (bad.success, bad.value) == (False, 0.2)
    assert bad.examples[0] == "P40"
    none = named(check(table, tmp_path, kind, labels=labels(60, 0)), "soluble_without_membrane")
    assert none.success is None


def test_a_protein_that_is_exported_is_not_taken_as_soluble(tmp_path: Path) -> None:
    table = calls(("Transmembrane", 5, 25), repeat=40)
    known = pl.concat([labels(0, 60), labels(0, 40).with_columns(concept=pl.lit("Signal peptide"))])
    result = named(check(table, tmp_path, labels=known), "soluble_without_membrane")
    assert (result.success, result.value) == (True, 0.0)


def test_a_rare_concept_whose_probabilities_do_not_hold_is_found(tmp_path: Path) -> None:
    right = calls(("Domain: X", 5, 25), repeat=N, probability=0.95)
    wrong = calls(("Signal peptide", 1, 20), repeat=12, probability=0.9)
    report = check(pl.concat([right, wrong]), tmp_path, labels=labels(0, N))
    assert named(report, "probabilities_calibrated").success is True
    result = named(report, "no_overconfident_concept")
    assert result.success is False
    assert result.examples == ("Signal peptide: promised 0.90, 0 of 12 right",)


def calibrated(share_right: float, probability: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """200 calls of one probability, and labels that make a share of them right."""
    table = calls(("Domain: X", 5, 25), repeat=N, probability=probability)
    n = round(share_right * N)
    known = labels(0, n)
    rest = [(f"P{i}", 5, 25, "Domain: Y", "span") for i in range(n, N)]
    return table, pl.concat([known, pl.DataFrame(rest, schema=known.schema, orient="row")])


def test_probabilities_that_do_not_hold_on_a_control_set_are_found(tmp_path: Path) -> None:
    table, known = calibrated(0.7, 0.75)
    good = named(check(table, tmp_path, labels=known), "probabilities_calibrated")
    assert good.success is True
    assert good.value == pytest.approx(0.05)
    table, known = calibrated(0.4, 0.9)
    bad = named(check(table, tmp_path, labels=known), "probabilities_calibrated")
    assert bad.success is False
    assert bad.value == pytest.approx(0.5)
    assert bad.examples == ("promised 0.90, 0.40 right (200 calls)",)
    few = named(check(table.head(50), tmp_path, labels=known), "probabilities_calibrated")
    assert few.success is None


def test_calls_are_matched_with_labels_once_for_all_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched: list[int] = []

    def counting(calls: pl.DataFrame, known: pl.DataFrame) -> pl.Series:
        matched.append(calls.height)
        return right_calls(calls, known)

    monkeypatch.setattr(controls, "right_calls", counting)
    table, known = calibrated(share_right=0.5, probability=0.9)
    report = check(table, tmp_path, labels=known)
    assert named(report, "probabilities_calibrated").value == pytest.approx(0.4)
    assert named(report, "no_overconfident_concept").value is not None
    assert matched == [table.height]


def test_calls_that_spread_otherwise_than_in_the_reference_are_found(tmp_path: Path) -> None:
    concepts = pl.DataFrame(
        {
            "concept": ["A", "B", "C"],
            "n_calls": [100, 100, 5000],
            "abstains": [None, None, "too few right calls"],
        }
    )
    even = pl.concat([calls(("A", 1, 5), ("B", 7, 9), repeat=N)])
    good = named(check(even, tmp_path, concepts=concepts), "concepts_as_in_the_reference")
    assert good.success is True
    assert good.value == pytest.approx(0.0, abs=1e-6)
    shifted = pl.concat([calls(("A", 1, 5), repeat=180), calls(("B", 7, 9), repeat=20)])
    bad = named(check(shifted, tmp_path, concepts=concepts), "concepts_as_in_the_reference")
    p, q = [180.5 / 201, 20.5 / 201], [0.5, 0.5]
    index = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert bad.success is False
    assert bad.value == pytest.approx(index)
    assert bad.examples[0] == "B: 10.2%, reference 50.0%"
    plain = named(check(shifted, tmp_path, concepts=["A", "B"]), "concepts_as_in_the_reference")
    assert plain.success is None
    # A class that the calls of its kinds imply is counted as the reference counts it.
    kinds = concepts.with_columns(concept=pl.Series(["A", "A: x", "C"]))
    implying = calls(("A: x", 1, 5), repeat=N, implied=pl.lit(["A"]))
    implied = named(check(implying, tmp_path, concepts=kinds), "concepts_as_in_the_reference")
    assert implied.value == pytest.approx(0.0, abs=1e-6)


def facts(revision: str) -> pl.DataFrame:
    rows = [("model", "models:/m/1", "models:/m/1"), ("PLM revision", "abc", revision)]
    return pl.DataFrame(rows, schema=["fact", "used", "registered"], orient="row")


@pytest.mark.parametrize("kind", ["annotations", "proposals"])
def test_another_plm_revision_or_model_than_the_registered_one_stops(
    tmp_path: Path, kind: str
) -> None:
    table = calls(("A", 1, 5))
    good = named(check(table, tmp_path, kind, registered=facts("abc")), "model_as_registered")
    assert good.success is True
    bad = named(check(table, tmp_path, kind, registered=facts("def")), "model_as_registered")
    assert (bad.success, bad.severity) == (False, "critical")
    assert bad.examples == ("PLM revision: used abc, registered def",)
    other = table.with_columns(model_uri=pl.lit("models:/m/2"))
    bad = named(check(other, tmp_path, kind, registered=facts("abc")), "model_as_registered")
    assert bad.success is False


def test_a_proposal_that_repeats_a_known_label_stops(tmp_path: Path) -> None:
    table = calls(("Domain: X", 5, 25), repeat=2)
    free = named(check(table, tmp_path, "proposals", labels=labels(2, 0)), "label_is_missing")
    assert free.success is True
    known = named(check(table, tmp_path, "proposals", labels=labels(1, 1)), "label_is_missing")
    assert (known.success, known.severity) == (False, "critical")


def test_a_concept_is_dominant_only_beside_what_the_model_usually_calls(tmp_path: Path) -> None:
    concepts = pl.DataFrame(
        {
            "concept": ["A", "A: x", "B", "C"],
            "n_calls": [940, 940, 60, 5000],
            "abstains": [None, None, None, "too few right calls"],
        }
    )
    usual = pl.concat([calls(("A: x", 1, 5), repeat=188), calls(("B", 7, 9), repeat=12)])
    good = named(check(usual, tmp_path, concepts=concepts), "no_dominant_concept")
    assert good.success is True
    assert good.value == pytest.approx(0.0)
    flood = pl.concat([calls(("A: x", 1, 5), repeat=20), calls(("B", 7, 9), repeat=180)])
    bad = named(check(flood, tmp_path, concepts=concepts), "no_dominant_concept")
    assert bad.success is False
    assert bad.value == pytest.approx(0.9 - 0.06)
    assert bad.examples == ("B: 90.0%, reference 6.0%",)
    few = named(check(flood[:50], tmp_path, concepts=concepts), "no_dominant_concept")
    assert few.success is None
    assert few.observed == "there is too little to measure it on"


def test_proposals_are_held_to_the_precision_that_was_asked_for(tmp_path: Path) -> None:
    table = calls(("A", 1, 5), repeat=20).with_columns(precision_low=pl.lit(0.35))
    asked = pl.DataFrame({"min_precision": [0.3]})
    met = named(check(table, tmp_path, "proposals", asked=asked), "worth_proposing")
    assert met.success is True
    more = named(
        check(table, tmp_path, "proposals", asked=asked.with_columns(min_precision=0.4)),
        "worth_proposing",
    )
    assert more.success is False
    nothing_asked = named(check(table, tmp_path, "proposals"), "worth_proposing")
    assert nothing_asked.success is False
