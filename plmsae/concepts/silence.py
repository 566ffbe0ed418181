"""How often a call is right where the table says nothing: what a proposal may promise.

The precision of calls is measured over all calls, most of which confirm what the table has. A
proposal is made only where the table is silent, and there every false call stays while most true
ones are gone: with TP true and FP false calls, and a share m of the true labels missing from the
table, TP·m true calls and FP false ones are left. So of the calls where the table is silent

    TP·m / (TP·m + FP) = p·m / (p·m + 1 − p)

are right, with p = TP / (TP + FP) the precision of calls: Bayes' rule with the missing labels as
the prior. It rises with p, so that the ends of an interval of p, whatever it takes into account
(homology clusters, too), are the ends of an interval of the same coverage of the outcome.

Two assumptions, both said wherever the number is shown. Labels are missing at random with regard to
whether the model finds them. And the false calls were counted on a table that lacks labels itself:
some of them are true labels that nobody has written down, so that the outcome is a **lower bound**.
"""

from __future__ import annotations

from typing import TypeVar

import polars as pl

from plmsae.errors import InputError

MISSING_SHARE = 0.1
"""Share of the true labels that a table is taken to lack, unless told otherwise."""

Shares = TypeVar("Shares", float, pl.Expr)


def silent_precision(precision: Shares, missing_share: float) -> Shares:
    """Return the precision of calls where the table is silent, from that of all calls.

    Parameters
    ----------
    precision : float or polars.Expr
        Share of right calls in [0, 1], one end of its interval, or the probability of single calls.
        Null stays null.
    missing_share : float
        Share of the true labels that the table lacks, in (0, 1]. At 1 the table has nothing, and
        the outcome is the precision itself.

    Raises
    ------
    InputError
        If the share is outside (0, 1].
    """
    check_missing_share(missing_share)
    right = precision * missing_share
    return right / (right + (1 - precision))


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
