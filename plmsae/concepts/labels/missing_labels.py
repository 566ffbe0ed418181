"""How often a call is right where the table has no label: the precision of a proposal.

The precision of calls is measured over all calls, most of which confirm what the table has. A
proposal is made only where the table has no label, and there every false call stays while most true
ones are gone: with TP true and FP false calls, and a share m of the true labels missing from the
table, TP·m true calls and FP false ones are left. So of the calls where the table has no label

    TP·m / (TP·m + FP) = p·m / (p·m + 1 − p)

are right, with p = TP / (TP + FP) the precision of calls: Bayes' rule with the missing labels as
the prior. Some of the false calls touch a label that they do not match; where that label is there,
they are not proposed either, so that of the share w of the false calls that touch a label only the
part m is left: p·m / (p·m + (1 − p)(1 − w + w·m)). It rises with p, so that the ends of an interval
of p, whatever it takes into account (homology clusters, too), are the ends of an interval of the
same coverage of the outcome.

Labels of one kind are missing oftener than those of another: a table may have every helix that a
structure shows and half of the binding sites. So m may be given concept by concept
(:func:`read_missing_shares`); one share for all overstates the precision of kinds that are nearly
complete. It cannot be learnt from the table itself: fewer calls confirmed than expected may mean
labels that are missing, or a proteome that has fewer of the things.

Two assumptions, both said wherever the number is shown. Labels are missing at random with regard to
whether the model finds them. And the false calls were counted on a table that lacks labels itself:
some of them are true labels that nobody has written down, so that the outcome is a **lower bound**.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import polars as pl

from plmsae.concepts.labels.label_holdout import class_of
from plmsae.concepts.labels.user_tables import LINE, read_frame, refuse_rows
from plmsae.core.errors import InputError
from plmsae.proteins.stream import source_name

MISSING_SHARE = 0.1
"""Share of the true labels that a table is taken to lack, unless told otherwise."""

Shares = TypeVar("Shares", float, pl.Expr)


def unlabelled_precision(
    precision: Shares, missing_share: Shares | float, touching: Shares | float = 0.0
) -> Shares:
    """Return the precision of calls where the table has no label, from that of all calls.

    Parameters
    ----------
    precision : float or polars.Expr
        Share of right calls in [0, 1], one end of its interval, or the probability of single calls.
        Null stays null.
    missing_share : float or polars.Expr
        Share of the true labels that the table lacks. At 1 the table has nothing, and the outcome
        is the precision itself; at 0, which only an expression may hold, nothing is missing and
        the outcome is 0.
    touching : float or polars.Expr
        Share of the wrong calls that touch a label of the concept, in [0, 1].

    Raises
    ------
    InputError
        If a number is outside (0, 1].
    """
    if not isinstance(missing_share, pl.Expr):
        check_missing_share(missing_share)
    right = precision * missing_share
    wrong = (1 - precision) * (1 - touching + touching * missing_share)
    found = right / (right + wrong)
    if isinstance(missing_share, pl.Expr):  # 0 / 0 where all calls are right and nothing is missing
        return pl.when(missing_share > 0).then(found).otherwise(right)
    return found


def share_by_concept(default: float, known: Mapping[str, float] | None = None) -> pl.Expr:
    """Return the missing share of each row's ``concept``.

    Parameters
    ----------
    default : float
        Of concepts that `known` says nothing of, in (0, 1].
    known : mapping of str to float, optional
        Share by concept, in [0, 1]; that of a class (``Domain``) holds for its members
        (``Domain: SH3``) that have none of their own.
    """
    check_missing_share(default)
    if not known:
        return pl.lit(float(default))

    def look_up(name: pl.Expr) -> pl.Expr:
        return name.replace_strict(dict(known), default=None, return_dtype=pl.Float64)

    concept = pl.col("concept")
    return pl.coalesce(look_up(concept), look_up(class_of(concept)), pl.lit(float(default)))


def read_missing_shares(path: str | Path) -> dict[str, float]:
    """Read which share of the true labels a table lacks, concept by concept.

    Parameters
    ----------
    path : str or Path
        Tab-separated, with the columns ``concept`` and ``missing_share``, in [0, 1]: 0 for a
        concept of which nothing is missing, so that nothing is proposed.

    Raises
    ------
    InputError
        If the file, a column or a number is wrong, or a concept is listed twice.
    """
    where, hint = source_name(path), "it needs concept and missing_share, tab-separated"
    frame = read_frame(path, hint=hint)
    for column in ("concept", "missing_share"):
        if column not in frame.columns:
            raise InputError(
                f"the table has no column {column!r}",
                where=where,
                value=", ".join(name for name in frame.columns if name != LINE),
                hint=hint,
            )
    frame = frame.with_columns(pl.col("concept", "missing_share").cast(pl.String).str.strip_chars())
    share = frame["missing_share"].cast(pl.Float64, strict=False)
    wrong = ~share.is_between(0, 1).fill_null(value=False)
    twice = frame["concept"].is_duplicated() | frame["concept"].is_null()
    shown = pl.Series([f"{row[0]}: {row[1]}" for row in frame["concept", "missing_share"].rows()])
    refuse_rows(wrong, shown, "a missing share must lie in [0, 1]", where, frame[LINE])
    refuse_rows(twice, shown, "a concept must be named, and once", where, frame[LINE])
    return dict(zip(frame["concept"].to_list(), share.to_list(), strict=True))


def check_missing_share(missing_share: float) -> None:
    """Refuse a share outside (0, 1]: a table that lacks nothing has no place for proposals.

    Raises
    ------
    InputError
        With the value.
    """
    if not 0 < missing_share <= 1:
        raise InputError(
            "the share of labels that the table lacks must lie above 0 and be at most 1",
            value=str(missing_share),
        )
