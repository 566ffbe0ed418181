"""Hiding known labels, to see later how many come back: at random, or in whole families.

What is hidden is an *entry*: all labels of one class at one place of one protein, because
``Domain: SH3`` is hidden only if the ``Domain`` that goes with it is hidden too.

GO terms are one class and EC numbers another, as terms imply each other: of a protein, all its GO
terms are hidden or none. So no descendant that is still listed gives a hidden term away, and no
ancestor stays that was only there because of it. Hiding each term with its descendants would leave
as little behind, but deep terms would be hidden oftener than broad ones, and the share that is
hidden of each concept is what the back-test takes as missing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from plmsae.core.errors import InputError

_PLACE = ("accession", "start", "end")


def class_of(concept: pl.Expr) -> pl.Expr:
    """Return the class of a concept by its name: ``Domain`` for ``Domain: SH3``.

    Ids are of the class of their vocabulary: ``GO`` for ``GO:0005634``, ``EC`` for ``EC:2.7``.
    """
    return concept.str.replace(r"^(GO|EC):[0-9].*$|: .*$", "$1")


def hide_labels(
    label_table: pl.DataFrame, share: float, seed: int, clusters: Mapping[str, int] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hide a share of the labels.

    Parameters
    ----------
    label_table : polars.DataFrame
        ``accession``, ``start``, ``end``, ``concept``; other columns are kept.
    share : float
        Share to hide of the labels of each class, in (0, 1); met as nearly as whole entries or
        clusters allow.
    seed : int
        Of the choice, which depends on the labels alone and not on their order.
    clusters : mapping of str to int, optional
        Homology cluster by accession. Then each class is hidden in whole clusters, so that no
        relative of a hidden label still carries one of its class; without them, entries are hidden
        one by one.

    Returns
    -------
    kept, hidden : polars.DataFrame
        Label tables, in the order of the input. Proteins stay: it is labels that are hidden, as
        they are missing in life.

    Raises
    ------
    InputError
        If the share is not between 0 and 1, or a labelled protein is in no cluster.
    """
    check_hide_share(share)
    table = label_table.unique(maintain_order=True)
    keyed = table.with_columns(class_of(pl.col("concept")).alias("_class"))
    unit = ["_class", *_PLACE]
    if clusters is not None:
        lost = [a for a in table["accession"].unique().sort() if a not in clusters]
        if lost:
            raise InputError("a labelled protein is in no homology cluster", record=lost[0])
        number = pl.col("accession").replace_strict(dict(clusters), return_dtype=pl.Int64)
        keyed = keyed.with_columns(number.alias("_cluster"))
        unit = ["_class", "_cluster"]
    units = keyed.group_by(unit).len("_size").sort(unit)
    units = _draw(units, share, np.random.default_rng(seed))
    chosen = keyed.join(units, on=unit, how="left", maintain_order="left")["_hidden"]
    return table.filter(~chosen), table.filter(chosen)


def _draw(units: pl.DataFrame, share: float, rng: np.random.Generator) -> pl.DataFrame:
    """Hide units of each class in random order until the share of its labels is reached."""
    classes = units["_class"].unique().sort()
    # The last unit may overshoot: a random part of it must fit, so that the share is right on
    # average, and rare classes are hidden now and then.
    slack = pl.DataFrame({"_class": classes, "_slack": rng.random(classes.len())})
    drawn = units.with_columns(pl.Series("_order", rng.permutation(units.height)))
    drawn = drawn.join(slack, on="_class", how="left").sort("_class", "_order")
    before = pl.col("_size").cum_sum().over("_class") - pl.col("_size")
    allowed = share * pl.col("_size").sum().over("_class")
    hidden = before + pl.col("_slack") * pl.col("_size") <= allowed
    return drawn.with_columns(hidden.alias("_hidden")).drop("_size", "_order", "_slack")


def check_hide_share(share: float) -> None:
    """Refuse a share outside (0, 1).

    Raises
    ------
    InputError
        With the value.
    """
    if not 0 < share < 1:
        raise InputError("the share of labels to hide must lie between 0 and 1", value=str(share))
