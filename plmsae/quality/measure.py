"""What a measure is, a number computed over a whole table, and what a derived column is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import polars as pl

from plmsae.quality.context import Context
from plmsae.quality.suites import Kind

PROTEINS: tuple[Kind, ...] = ("proteins",)
CALLS: tuple[Kind, ...] = ("annotations", "proposals")
SPANS: tuple[Kind, ...] = (*CALLS, "labels")
"""Suites of tables alike: of proteins; of rows that a model called; of rows with a span."""

EXAMPLES = 5
"""Offenders named for a number that counts them."""


Compute = TypeVar("Compute")


class Measured(NamedTuple):
    """A measured number."""

    value: float | None
    """The number; None where there is nothing to measure (no rows)."""
    examples: tuple[str, ...] = ()
    """For a number that counts offenders: some of them."""


@dataclass(frozen=True)
class Computed(Generic[Compute]):
    """Something that is computed from a table: a number (`Measure`) or a column (`Derived`).

    Attributes
    ----------
    what : str
        What it is, in words and with its unit.
    kinds : tuple of str
        The suites that may use it.
    columns : tuple of str
        The columns of the table it is made of.
    compute : callable
        A measure takes the table (lazy) and the context; a derived column takes a batch, the
        context and the name of the part, and gives one value per row.
    needs : tuple of str
        The context it is made of.
    """

    what: str
    kinds: tuple[Kind, ...]
    columns: tuple[str, ...]
    compute: Compute
    needs: tuple[str, ...] = ()


Measure = Computed[Callable[[pl.LazyFrame, Context], Measured]]
Derived = Computed[Callable[[pl.DataFrame, Context, str], pl.Series]]


def scalar(frame: pl.LazyFrame, expression: pl.Expr) -> float | None:
    """Evaluate one aggregate over a lazy frame; NaN becomes None."""
    value = frame.select(expression).collect(engine="streaming").item()
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else value


def short(value: str | None) -> str:
    """Cut a value for display."""
    text = "(empty)" if value is None else value
    return text if len(text) <= 40 else f"{text[:37]}..."
