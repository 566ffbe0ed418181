"""A report says whether concepts were chosen on its proteins."""

from __future__ import annotations

import dataclasses

import pytest
from tiny_bundle import tiny_meta

from plmsae.bundle.meta import BundleMeta
from plmsae.core.fingerprint import DataFingerprint
from plmsae.core.resources import READY
from plmsae.core.sketch import SELECT_SKETCH, sketch_of
from plmsae.proteins.uniprot import read_table
from plmsae.registry.models import resolve
from plmsae.reports.chosen_on import compare
from plmsae.workflows.shared.swissprot_sample import SAMPLE

SEQUENCES = [f"MKT{letter}W" for letter in "ACDEFGHIKL"]


def data(source: str, digest: str = "0") -> DataFingerprint:
    return DataFingerprint(source=source, sha256=digest * 64, n_proteins=10, n_residues=50)


def meta(split: str | None, measured_on: DataFingerprint | None = None, **extra: str) -> BundleMeta:
    kept = extra if split is None else {"split": split, **extra}
    return dataclasses.replace(tiny_meta(), eval_data=measured_on, extra=kept)


TWO = "chosen on yeast.tsv, reported on coli.tsv, homologues may be in both; intervals by x"
ONE = "MMseqs2 clusters at 30% identity, none in both splits"


@pytest.mark.parametrize(
    ("split", "measured_on", "source", "warning"),
    [
        (TWO, "coli.tsv", "yeast.tsv", "has the name of the file on which"),
        (TWO, "coli.tsv", "coli.tsv", ""),
        (TWO, "coli.tsv", "mouse.tsv", ""),
        (ONE, "yeast.tsv", "yeast.tsv", "a part of a file named yeast.tsv"),
        (ONE, "yeast.tsv", "mouse.tsv", ""),
        (None, "yeast.tsv", "mouse.tsv", "does not say on which proteins"),
    ],
)
def test_without_a_sketch_files_are_compared_by_name(
    split: str | None, measured_on: str, source: str, warning: str
) -> None:
    found = compare(meta(split, data(measured_on, "1")), data(source), SEQUENCES)
    assert bool(found.warning) == bool(warning)
    assert warning in found.warning
    assert "\n" not in found.warning
    assert (split or "not known") in found.words


def test_the_very_proteins_of_the_measurement_are_known_by_their_digest() -> None:
    found = compare(meta(ONE, data("yeast.tsv", "1")), data("renamed.tsv", "1"), SEQUENCES)
    assert found.warning == ""
    assert "the very proteins on which F1 was measured" in found.words


def test_a_model_that_was_never_evaluated_says_so() -> None:
    found = compare(meta(None), data("yeast.tsv"), SEQUENCES)
    assert found.warning == ""
    assert "records no evaluation" in found.words


@pytest.mark.parametrize(("chosen", "share"), [(SEQUENCES, "100%"), (SEQUENCES[:3], "30%")])
def test_a_sketch_tells_by_sequence_whatever_the_file_is_called(
    chosen: list[str], share: str
) -> None:
    model = meta(TWO, data("coli.tsv", "1"), **{SELECT_SKETCH: sketch_of(chosen)})
    found = compare(model, data("renamed.tsv"), SEQUENCES)
    assert found.warning.startswith(f"{share} of these proteins (of 10 looked up)")
    assert "no test on new proteins" in found.warning


def test_a_sketch_clears_a_file_of_the_same_name() -> None:
    others = [f"{sequence}AA" for sequence in SEQUENCES]
    model = meta(TWO, data("coli.tsv", "1"), **{SELECT_SKETCH: sketch_of(others)})
    found = compare(model, data("yeast.tsv"), SEQUENCES)
    assert found.warning == ""
    assert found.words.startswith("yeast.tsv, reported on coli.tsv")  # after "chosen on"
    assert "of the proteins here, 0 of 10 looked up are among those" in found.words


def test_the_model_that_ships_warns_of_yeast_and_not_of_b_subtilis() -> None:
    shipped = resolve(READY).meta
    table = read_table(SAMPLE)
    yeast = table["organism"].str.starts_with("Saccharomyces")
    of_yeast = compare(shipped, data("a.tsv"), table.filter(yeast)["sequence"].to_list())
    # It was evaluated on less than half of the proteome of which the sample is drawn.
    assert 0.3 < float(of_yeast.warning.split("%")[0]) / 100 < 0.6
    others = compare(shipped, data("b.tsv"), table.filter(~yeast)["sequence"].to_list())
    assert others.warning == ""
