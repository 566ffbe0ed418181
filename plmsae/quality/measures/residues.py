"""Measure of calls on residues that their concept cannot be on."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from plmsae.quality.context import Context
from plmsae.quality.measure import CALLS, Measure, Measured
from plmsae.quality.measures.calls import worst_share
from plmsae.quality.residue_rules import residue_rules

_ROWS = 100_000


def impossible_share(frame: pl.LazyFrame, context: Context) -> Measured:
    """Take the share of the worst concept's calls that break its rule of ``residue_rules.yaml``."""
    rows = frame.select(
        pl.col("accession", "concept").cast(pl.String), pl.col("start", "end").cast(pl.Int64)
    ).drop_nulls()
    concepts = rows.select("concept").unique().collect(engine="streaming")["concept"].sort()
    rules = {
        concept: found
        for concept in concepts
        if (found := [rule for rule in residue_rules() if rule.applies(concept)])
    }
    ruled = rows.filter(pl.col("concept").is_in(list(rules))).collect(engine="streaming")
    n = dict.fromkeys(rules, 0)
    n_bad = dict.fromkeys(rules, 0)
    example: dict[str, str] = {}
    for batch in ruled.iter_slices(_ROWS):
        sequences = context.sequences(batch["accession"])
        for accession, concept, start, end in batch.iter_rows():
            if accession in sequences:
                texts = (r.broken_by(sequences[accession], start, end) for r in rules[concept])
                n[concept] += 1
                if (text := next(filter(None, texts), None)) is not None:
                    n_bad[concept] += 1
                    example[concept] = min(example.get(concept, "~"), f"{accession}, {text}")
    counts = pl.DataFrame(
        {
            "concept": list(rules),
            "n": list(n.values()),
            "n_bad": list(n_bad.values()),
            "expected": 0.0,
            "example": [example.get(concept) for concept in rules],
        },
        schema_overrides={"example": pl.String},
    )
    return worst_share(counts.filter(pl.col("n") > 0))


MEASURES: Mapping[str, Measure] = {
    "impossible_share": Measure(
        "of the concept where it is highest, among those that need certain residues or a "
        "certain place: share of its calls that are elsewhere (lower end of the 95 % interval)",
        CALLS,
        ("accession", "start", "end", "concept"),
        impossible_share,
        needs=("sequences",),
    )
}
