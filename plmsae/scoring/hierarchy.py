"""Parents and children among concepts: one thing is called once, at its most specific level.

``Domain: SH3`` is a ``Domain``: a call of the first says the second too. So a call of a class that
shares a residue with a call of a member of the class, in the same protein, is left out, and the
member's call names the class in the column ``implied``. Only calls that may be made count: where
no member meets the precision asked for, the class is called.

Every label of a member also stands for its class (`labels.label_table`), so that nothing is lost:
all domains are the rows whose concept is ``Domain`` or whose ``implied`` holds it.
"""

from __future__ import annotations

import polars as pl

from plmsae.concepts.labels.label_holdout import class_of
from plmsae.scoring.overlap import overlaps


def implied_concepts() -> pl.Expr:
    """Return the parents of each row's ``concept``, list of str; empty for a class.

    Terms with an id (GO, EC) have no parents here: their hierarchy is that of an ontology.
    """
    concept = pl.col("concept")
    parent = class_of(concept)
    is_id = concept.str.contains(r"^(GO|EC):[0-9]")
    none = pl.lit([], dtype=pl.List(pl.String))
    return pl.when((parent != concept) & ~is_id).then(pl.concat_list(parent)).otherwise(none)


def keep_most_specific(calls: pl.DataFrame) -> pl.DataFrame:
    """Leave out the calls of classes that a member's call implies.

    Parameters
    ----------
    calls : polars.DataFrame
        ``accession``, ``start``, ``end`` (1-based inclusive), ``concept``; others are kept.

    Returns
    -------
    polars.DataFrame
        In the same order.
    """
    parent = calls.select(implied_concepts().list.first().alias("class"))["class"]
    # Members' calls under the name of their class, against calls of that class.
    members = calls.with_columns(parent.alias("concept")).filter(parent.is_not_null())
    if members.is_empty():
        return calls
    is_class = parent.is_null()
    return calls.filter(~(is_class & overlaps(calls, members, relation="same")))
