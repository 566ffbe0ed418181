"""Which features a report is about: those that find a concept, and strong ones that find none."""

from __future__ import annotations

import polars as pl

from plmsae.concepts.association.tables import is_found

NAMELESS_SHARE = 0.25
"""Share of a report that is kept for features without a concept at F1 > 0.5, rounded down."""

USABLE_DENSITY = (1e-4, 0.1)
"""Share of residues on which such a feature is active: on fewer its examples are too few to tell a
pattern from chance, and what is active on every tenth residue is no feature of a place."""

MIN_PROTEINS = 20
"""Proteins on which such a feature is active: with fewer, too few are left to test a description
on when some are shown. Asked for where the table counts them (``n_proteins_active``)."""


def top_latents(features: pl.DataFrame, concepts: pl.DataFrame, n: int) -> list[int]:
    """Choose the features to report.

    The features that detect a concept come first, with F1 > 0.5 on the proteins where they were
    chosen and on others, as evaluations count them: the best of each concept, then those that share
    a concept with a better one. The best is the best where it was chosen; the highest F1 on the
    other proteins would be a choice on what is then shown as not chosen on.

    The last quarter (`NAMELESS_SHARE`) is of features that detect no concept and are active on a
    usable share of residues (`USABLE_DENSITY`) and on enough proteins (`MIN_PROTEINS`): of these,
    those with the highest activations. Where there are too few such features, others take their
    places. Dead features are never chosen.

    Parameters
    ----------
    features : polars.DataFrame
        The bundle's ``features.parquet``: at least ``latent``, ``density``, ``max_activation``,
        ``concept``, ``f1`` and ``f1_select``; ``dead`` and ``n_proteins_active`` are used where
        they are there.
    concepts : polars.DataFrame
        The bundle's ``concepts.parquet``: at least ``best_latent``, ``f1`` and ``f1_select``.
    n : int
        How many at most.

    Returns
    -------
    list of int
        In the order in which they are reported.
    """
    alive = features.filter((pl.col("max_activation") > 0) & ~_column(features, "dead", False))
    detected = is_found(pl.col("f1"), pl.col("f1_select"))
    named = [
        *features.filter(pl.col("concept").is_not_null() & detected)["latent"],
        *concepts.filter(detected)["best_latent"],
    ]
    usable = alive.filter(
        ~pl.col("latent").is_in(named)
        & pl.col("density").is_between(*USABLE_DENSITY)
        & (_column(features, "n_proteins_active", MIN_PROTEINS) >= MIN_PROTEINS)
    )
    strongest = usable.sort(["max_activation", "latent"], descending=[True, False])["latent"]
    nameless = strongest.head(int(n * NAMELESS_SHARE)).to_list()
    ranked = alive.sort(
        [detected.fill_null(value=False), "f1_select", "density", "latent"],
        descending=[True, True, True, False],
        nulls_last=True,
    ).with_columns(
        rank=pl.when(pl.col("concept").is_null())
        .then(2)
        .otherwise((pl.int_range(pl.len()).over("concept") > 0).cast(pl.Int32))
    )
    others = ranked.sort("rank", maintain_order=True).filter(~pl.col("latent").is_in(nameless))
    return [*others["latent"].head(n - len(nameless)).to_list(), *nameless]


def _column(features: pl.DataFrame, name: str, otherwise: bool | int) -> pl.Expr:
    if name not in features.columns:
        return pl.lit(otherwise)
    return pl.col(name).fill_null(otherwise)
