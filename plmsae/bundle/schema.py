"""The columns of a bundle's two tables, and the rules their values keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plmsae.concepts.columns import CONCEPT_COLUMNS, FEATURE_COLUMNS, Column
from plmsae.core.errors import FormatError

if TYPE_CHECKING:
    import polars as pl


def _types(columns: tuple[Column, ...], *, needed: bool) -> dict[str, str]:
    return {column.name: column.type for column in columns if column.needed is needed}


FEATURES_SCHEMA = _types(FEATURE_COLUMNS, needed=True)
CONCEPTS_SCHEMA = _types(CONCEPT_COLUMNS, needed=True)
"""Types of the columns that every bundle has. `plmsae.concepts.columns` says what they mean."""

_NEVER_NULL = {"latent", "density", "max_activation", "dead", "kind"}


def empty_frame(schema: dict[str, str]) -> pl.DataFrame:
    """Return a frame of one of the schemas without rows."""
    import polars as pl

    return pl.DataFrame(schema={name: getattr(pl, kind) for name, kind in schema.items()})


def conform(
    frame: pl.DataFrame, schema: dict[str, str], *, d_sae: int, where: str | Path
) -> pl.DataFrame:
    """Return `frame` in the types and order of `schema`, NaN turned to null, checked.

    Columns beyond the schema are kept, after its own.

    Raises
    ------
    InputError
        If a column is missing, a value does not fit its type, or a rule is broken.
    """
    import polars as pl

    needed, columns = schema, _declared(schema, frame)
    schema = {column.name: column.type for column in columns}
    if missing := [name for name in schema if name not in frame.columns]:
        raise FormatError(f"column {missing[0]!r} is missing", where=where)
    try:
        typed = frame.with_columns(
            pl.col(name).cast(getattr(pl, kind), strict=True) for name, kind in schema.items()
        )
    except pl.exceptions.PolarsError as error:
        raise FormatError(f"a column has the wrong type: {error}", where=where) from error
    floats = [name for name, kind in schema.items() if kind == "Float64"]
    typed = typed.with_columns(pl.col(name).fill_nan(None) for name in floats)
    extra = [name for name in frame.columns if name not in schema]
    key = ["latent"] if needed is FEATURES_SCHEMA else ["concept", "best_latent", "call_latent"]
    typed = typed.select([*schema, *extra]).sort(key, maintain_order=True)
    check_frame(typed, needed, d_sae=d_sae, where=where)
    return typed


def check_frame(
    frame: pl.DataFrame, schema: dict[str, str], *, d_sae: int, where: str | Path
) -> None:
    """Check types and values of a table of a bundle.

    Raises
    ------
    InputError
        Naming the column, and the first value that breaks a rule.
    """
    import polars as pl

    columns = _declared(schema, frame)
    for column in columns:
        if column.name not in frame.columns:
            raise FormatError(f"column {column.name!r} is missing", where=where)
        if frame.schema[column.name] != getattr(pl, column.type):
            raise FormatError(
                f"column {column.name!r} must be {column.type}",
                where=where,
                value=str(frame.schema[column.name]),
            )
    never_null = set(_NEVER_NULL)
    if schema is FEATURES_SCHEMA:
        _check_all_latents(frame, d_sae, where)
    else:
        never_null |= {"concept"}
        for name in ("best_latent", "call_latent"):
            outside = ~pl.col(name).is_between(0, d_sae - 1)
            _refuse(frame, outside, name, f"from 0 to {d_sae - 1}", where)
    for column in columns:
        name, value = column.name, pl.col(column.name)
        if name in never_null:
            _refuse(frame, value.is_null(), name, "given in every row", where)
        if column.rule == "share":
            _refuse(frame, ~value.is_between(0, 1), name, "between 0 and 1", where)
        elif column.rule == "count":
            _refuse(frame, value < 0, name, "0 or more", where)
        elif column.rule:
            choices = column.rule.split()
            _refuse(frame, ~value.is_in(choices), name, f"one of {', '.join(choices)}", where)
        if name == "max_activation":
            bad = ~(value.is_finite() & (value >= 0))
            _refuse(frame, bad, name, "finite and 0 or more", where)


def _declared(schema: dict[str, str], frame: pl.DataFrame) -> list[Column]:
    """Return the columns that the table must have, then the others that are there."""
    columns = FEATURE_COLUMNS if schema is FEATURES_SCHEMA else CONCEPT_COLUMNS
    there = [c for c in columns if c.needed or c.name in frame.columns]
    return sorted(there, key=lambda column: not column.needed)


def _check_all_latents(frame: pl.DataFrame, d_sae: int, where: str | Path) -> None:
    import polars as pl

    if frame.height != d_sae or not frame["latent"].equals(
        pl.int_range(d_sae, dtype=pl.Int32, eager=True), check_names=False
    ):
        raise FormatError(
            f"must hold each latent from 0 to {d_sae - 1} once, in order",
            where=where,
            value=f"{frame.height} rows",
        )


def _refuse(frame: pl.DataFrame, bad: pl.Expr, name: str, rule: str, where: str | Path) -> None:
    """Raise if `bad` is true in any row; null counts as not bad, nulls have their own rule."""
    rows = frame.select(row=bad.fill_null(False).arg_true())["row"]
    if rows.len():
        row = int(rows[0])
        raise FormatError(
            f"column {name!r} must be {rule}",
            where=where,
            record=f"row {row + 1}",
            value=str(frame[name][row]),
        )
