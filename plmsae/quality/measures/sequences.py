"""Measures of protein sequences: are these proteins, and ordinary ones."""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl

from plmsae.quality.context import Context
from plmsae.quality.measure import EXAMPLES, PROTEINS, Measure, Measured, scalar

# Amino-acid frequencies of UniProtKB/Swiss-Prot as its release statistics print them, in percent.
NATURAL_PERCENT: Mapping[str, float] = {
    "A": 8.25, "R": 5.52, "N": 4.06, "D": 5.46, "C": 1.38, "Q": 3.93, "E": 6.71, "G": 7.07,
    "H": 2.27, "I": 5.91, "L": 9.64, "K": 5.79, "M": 2.41, "F": 3.86, "P": 4.74, "S": 6.65,
    "T": 5.36, "W": 1.10, "Y": 2.92, "V": 6.85,
}  # fmt: skip


def median_length(frame: pl.LazyFrame, context: Context) -> Measured:
    """Take the median length in residues."""
    return Measured(scalar(frame, pl.col("length").median()))


def _letters(frame: pl.LazyFrame) -> dict[str, int]:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    sequence = pl.col("sequence")
    counts = frame.select(
        sequence.str.count_matches(letter, literal=True).sum().alias(letter) for letter in letters
    ).collect(engine="streaming")
    return {letter: int(counts[letter][0] or 0) for letter in letters}


def share_unknown_residues(frame: pl.LazyFrame, context: Context) -> Measured:
    """Take the share of X among all residues."""
    counts = _letters(frame)
    total = sum(counts.values())
    return Measured(counts["X"] / total if total else None)


def composition_divergence(frame: pl.LazyFrame, context: Context) -> Measured:
    """Compare the frequencies of the 20 amino acids with those of Swiss-Prot, in bits."""
    counts = {aa: n for aa, n in _letters(frame).items() if aa in NATURAL_PERCENT}
    total = sum(counts.values())
    if not total:
        return Measured(None)
    natural_total = sum(NATURAL_PERCENT.values())
    terms = {
        aa: n / total * math.log2((n / total) / (NATURAL_PERCENT[aa] / natural_total))
        for aa, n in counts.items()
        if n
    }
    worst = sorted(terms, key=lambda aa: -abs(terms[aa]))[:EXAMPLES]
    return Measured(
        sum(terms.values()),
        tuple(f"{aa} {counts[aa] / total:.1%} (usual {NATURAL_PERCENT[aa]} %)" for aa in worst),
    )


def share_repeated_sequences(frame: pl.LazyFrame, context: Context) -> Measured:
    """Take the share of the proteins whose sequence an earlier one has too."""
    total = scalar(frame, pl.len())
    if not total:
        return Measured(None)
    groups = (
        frame.select(pl.col("accession").cast(pl.String), pl.col("sequence").hash().alias("key"))
        .group_by("key")
        .agg(pl.len().alias("n"), pl.col("accession").sort().head(3))
        .filter(pl.col("n") > 1)
        .with_columns(pl.col("accession").list.join(" = ", ignore_nulls=True))
        .sort("n", "accession", descending=[True, False])
        .collect(engine="streaming")
    )
    return Measured(
        (int(groups["n"].sum()) - groups.height) / total,
        tuple(
            f"{names} ({n}×)"
            for names, n in groups.select("accession", "n").head(EXAMPLES).iter_rows()
        ),
    )


def share_like_nucleotides(frame: pl.LazyFrame, context: Context) -> Measured:
    """Take the share of the proteins that are made of A, C, G, T, U and N."""
    # A, C, G, T are amino acids too, but only nucleic acid is made of little else: their share in
    # proteins is 22 %, so 90 % over 30 letters does not come about by chance.
    sequence = pl.col("sequence")
    length = sequence.str.len_chars()
    hits = sequence.str.count_matches("[ACGTUN]") >= 0.9 * length
    odd = frame.filter((length >= 30) & hits)
    total = scalar(frame, pl.len())
    if not total:
        return Measured(None)
    names = odd.select(pl.col("accession").cast(pl.String)).head(EXAMPLES).collect()
    return Measured((scalar(odd, pl.len()) or 0) / total, tuple(names["accession"].to_list()))


MEASURES: Mapping[str, Measure] = {
    "share_repeated_sequences": Measure(
        "share of the proteins whose sequence another one has too, beyond the first",
        PROTEINS,
        ("accession", "sequence"),
        share_repeated_sequences,
    ),
    "median_length": Measure(
        "median length of a protein (residues)", PROTEINS, ("length",), median_length
    ),
    "share_unknown_residues": Measure(
        "share of residues that are X", PROTEINS, ("sequence",), share_unknown_residues
    ),
    "composition_divergence": Measure(
        "Kullback-Leibler divergence of the amino-acid frequencies from Swiss-Prot's (bits)",
        PROTEINS,
        ("sequence",),
        composition_divergence,
    ),
    "share_like_nucleotides": Measure(
        "share of proteins that look like DNA or RNA",
        PROTEINS,
        ("accession", "sequence"),
        share_like_nucleotides,
    ),
}
