"""Measures against counting by hand."""

from __future__ import annotations

import math
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.quality.context import Context
from plmsae.quality.measures import MEASURES
from plmsae.quality.measures.backtest import _wilson_upper
from plmsae.quality.measures.sequences import NATURAL_PERCENT


def measure(name: str, frame: pl.DataFrame, **context: object) -> float | None:
    return MEASURES[name].compute(frame.lazy(), Context(context)).value


SEQUENCES = st.lists(st.text("ACDEFGHIKLMNPQRSTVWYX", max_size=12), max_size=12)


@settings(max_examples=30, deadline=None)
@given(SEQUENCES)
def test_sequence_measures_equal_plain_counting(sequences: list[str]) -> None:
    frame = pl.DataFrame(
        {"accession": [f"P{i}" for i in range(len(sequences))], "sequence": sequences},
        schema={"accession": pl.String, "sequence": pl.String},
    )
    letters = Counter("".join(sequences))
    total = sum(letters.values())
    share = letters["X"] / total if total else None
    assert measure("share_unknown_residues", frame) == pytest.approx(share)
    repeated = (len(sequences) - len(set(sequences))) / len(sequences) if sequences else None
    assert measure("share_repeated_sequences", frame) == pytest.approx(repeated)
    real = total - letters.pop("X", 0)
    scale = sum(NATURAL_PERCENT.values())
    divergence = sum(
        n / real * math.log2((n / real) / (NATURAL_PERCENT[aa] / scale))
        for aa, n in letters.items()
    )
    assert measure("composition_divergence", frame) == pytest.approx(divergence if real else None)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 3), st.sampled_from("xy"))))
def test_repeated_spans_equal_plain_counting(rows: list[tuple[str, int, str]]) -> None:
    frame = pl.DataFrame(
        [(a, s, s + 1, c) for a, s, c in rows],
        schema={"accession": pl.String, "start": pl.Int32, "end": pl.Int32, "concept": pl.String},
        orient="row",
    )
    assert measure("n_repeated_spans", frame) == len(rows) - len(set(rows))
    counts = Counter(a for a, _, _ in rows)
    assert measure("max_per_protein", frame) == (max(counts.values()) if counts else None)


def test_natural_proteins_do_not_diverge_and_one_letter_does() -> None:
    natural = "".join(aa * round(100 * percent) for aa, percent in NATURAL_PERCENT.items())
    frame = pl.DataFrame({"accession": ["P1"], "sequence": [natural]})
    assert measure("composition_divergence", frame) == pytest.approx(0, abs=1e-4)
    poly = pl.DataFrame({"accession": ["P1"], "sequence": ["W" * 50]})
    assert measure("composition_divergence", poly) == pytest.approx(
        math.log2(99.92 / 1.10), abs=0.01
    )


def test_genes_are_told_from_proteins_and_short_peptides_are_not_judged() -> None:
    frame = pl.DataFrame(
        {
            "accession": ["gene", "protein", "short"],
            "sequence": ["ATGCCGTTANGA" * 4, "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEV", "GATTACA"],
        }
    )
    found = MEASURES["share_like_nucleotides"].compute(frame.lazy(), Context())
    assert found.value == pytest.approx(1 / 3)
    assert found.examples == ("gene",)


def test_annotations_on_unknown_proteins_do_not_count_as_coverage() -> None:
    frame = pl.DataFrame({"accession": ["P1", "P1", "P9"]})
    proteins = pl.DataFrame({"accession": ["P1", "P2"], "length": [5, 5]})
    assert measure("share_annotated", frame, proteins=proteins) == 0.5


@pytest.mark.parametrize(("k", "n", "upper"), [(0, 10, 0.2775), (5, 10, 0.7634), (10, 10, 1.0)])
def test_the_wilson_bound_is_the_published_one(k: int, n: int, upper: float) -> None:
    assert _wilson_upper(k, n) == pytest.approx(upper, abs=2e-4)
