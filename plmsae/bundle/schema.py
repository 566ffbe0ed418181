"""The columns of a bundle's two tables, and the rules their values keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plmsae.core.errors import InputError

if TYPE_CHECKING:
    import polars as pl

# Names of polars types, not the types: polars is imported where frames are handled.
FEATURES_SCHEMA = {
    "latent": "Int32",
    "density": "Float64",
    "max_activation": "Float64",
    "dead": "Boolean",
    "concept": "String",
    "threshold": "Float64",
    "f1_select": "Float64",
    "precision": "Float64",
    "recall": "Float64",
    "f1": "Float64",
    "description": "String",
}
"""Columns of ``features.parquet``: one row per latent, sorted, all latents from 0 to d_sae - 1.
`concept` and what follows it is null for a latent without one. `threshold` is on activation /
`max_activation`, in [0, 1]."""

CONCEPTS_SCHEMA = {
    "concept": "String",
    "kind": "String",
    "latent": "Int32",
    "threshold": "Float64",
    "n_instances": "Int64",
    "n_residues": "Int64",
    "n_proteins": "Int64",
    "f1_select": "Float64",
    "precision_residue": "Float64",
    "recall": "Float64",
    "f1": "Float64",
    "call_precision": "Float64",
    "call_precision_low": "Float64",
    "call_precision_high": "Float64",
    "n_calls": "Int64",
    "min_length": "Int32",
    "max_gap": "Int32",
}
"""Columns of ``concepts.parquet``: one row per concept and latent that detects it. `kind` is
``site``, ``span`` or ``protein``; lengths and gaps are in residues; what could not be measured
(no calls, no instances) is null, never NaN."""

OPTIONAL_CONCEPTS_SCHEMA = {
    "caller": "String",
    "decoder": "String",
    "seed_threshold": "Float64",
    "instances_found": "Float64",
    "span_f1": "Float64",
    "iou": "Float64",
    "touch_iou": "Float64",
    "call_precision_touch": "Float64",
    "call_precision_residue": "Float64",
    "whole_share": "Float64",
    "one_residue_share": "Float64",
    "end_exact": "Float64",
    "label_whole_share": "Float64",
    "label_one_residue_share": "Float64",
    "f1_latent": "Int32",
    "abstains": "String",
    "abstains_at": "Float64",
}
"""Further columns of ``concepts.parquet``, checked where they are there; all may be null. `caller`
is ``latent`` or ``probe``; `decoder` is ``runs`` or ``segments`` (then its parameters are in
``callers.json``); `seed_threshold` is what a run must exceed somewhere, 0 for nothing, on
activation / `max_activation`. Of the calls on held-out proteins: `instances_found`, the share of
labelled instances that a right call finds; `span_f1`, the harmonic mean of that and
`call_precision`; `iou`, the mean over right calls of intersection over union, and `touch_iou` that
over calls that touch a label; `call_precision_touch`, the share of calls that touch a label, and
`call_precision_residue`, the share of called residues that are labelled; `whole_share` and
`one_residue_share`, the shares of calls that cover more than 90 % of their protein and that are one
residue long, beside `label_whole_share` and `label_one_residue_share` of the labels on which the
concept was chosen; `end_exact`, the share of right calls that end within 3 residues of the label.
`f1_latent` is the latent of `f1`; `abstains` says why a concept is not called at the precision
`abstains_at`."""

KINDS = ("site", "span", "protein")

_NEVER_NULL = {"latent", "density", "max_activation", "dead", "kind"}
_SHARES = (
    *("density", "threshold", "f1_select", "precision", "recall", "f1"),
    *("precision_residue", "call_precision", "call_precision_low", "call_precision_high"),
    *("seed_threshold", "instances_found", "span_f1", "iou", "touch_iou", "call_precision_touch"),
    *("call_precision_residue", "whole_share", "one_residue_share", "end_exact"),
    *("label_whole_share", "label_one_residue_share", "abstains_at"),
)
_CHOICES = {"caller": ("latent", "probe"), "decoder": ("runs", "segments")}
_COUNTS = ("n_instances", "n_residues", "n_proteins", "n_calls", "min_length", "max_gap")


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

    schema, needed = _with_optional(schema, frame), schema
    if missing := [name for name in schema if name not in frame.columns]:
        raise InputError(f"column {missing[0]!r} is missing", where=where)
    try:
        typed = frame.with_columns(
            pl.col(name).cast(getattr(pl, kind), strict=True) for name, kind in schema.items()
        )
    except pl.exceptions.PolarsError as error:
        raise InputError(f"a column has the wrong type: {error}", where=where) from error
    floats = [name for name, kind in schema.items() if kind == "Float64"]
    typed = typed.with_columns(pl.col(name).fill_nan(None) for name in floats)
    extra = [name for name in frame.columns if name not in schema]
    key = ["latent"] if needed is FEATURES_SCHEMA else ["concept", "latent"]
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

    for name in schema:
        if name not in frame.columns:
            raise InputError(f"column {name!r} is missing", where=where)
    needed, schema = schema, _with_optional(schema, frame)
    for name, kind in schema.items():
        if frame.schema[name] != getattr(pl, kind):
            raise InputError(
                f"column {name!r} must be {kind}", where=where, value=str(frame.schema[name])
            )
    never_null = set(_NEVER_NULL)
    if needed is FEATURES_SCHEMA:
        _check_all_latents(frame, d_sae, where)
    else:
        never_null = (never_null - {"latent"}) | {"concept"}
        _refuse(frame, ~pl.col("kind").is_in(KINDS), "kind", f"one of {', '.join(KINDS)}", where)
        outside = ~pl.col("latent").is_between(0, d_sae - 1)
        _refuse(frame, outside, "latent", f"from 0 to {d_sae - 1}", where)
    for name in schema:
        column = pl.col(name)
        if name in never_null:
            _refuse(frame, column.is_null(), name, "given in every row", where)
        if name in _CHOICES:
            words = ", ".join(_CHOICES[name])
            _refuse(frame, ~column.is_in(_CHOICES[name]), name, f"one of {words}", where)
        if name in _SHARES:
            _refuse(frame, ~column.is_between(0, 1), name, "between 0 and 1", where)
        if name in _COUNTS:
            _refuse(frame, column < 0, name, "0 or more", where)
        if name == "max_activation":
            bad = ~(column.is_finite() & (column >= 0))
            _refuse(frame, bad, name, "finite and 0 or more", where)


def _with_optional(schema: dict[str, str], frame: pl.DataFrame) -> dict[str, str]:
    """Add the optional columns that the frame has."""
    if schema is not CONCEPTS_SCHEMA:
        return schema
    known = OPTIONAL_CONCEPTS_SCHEMA.items()
    return {**schema, **{name: kind for name, kind in known if name in frame.columns}}


def _check_all_latents(frame: pl.DataFrame, d_sae: int, where: str | Path) -> None:
    import polars as pl

    if frame.height != d_sae or not frame["latent"].equals(
        pl.int_range(d_sae, dtype=pl.Int32, eager=True), check_names=False
    ):
        raise InputError(
            f"must hold each latent from 0 to {d_sae - 1} once, in order",
            where=where,
            value=f"{frame.height} rows",
        )


def _refuse(frame: pl.DataFrame, bad: pl.Expr, name: str, rule: str, where: str | Path) -> None:
    """Raise if `bad` is true in any row; null counts as not bad, nulls have their own rule."""
    rows = frame.select(row=bad.fill_null(False).arg_true())["row"]
    if rows.len():
        row = int(rows[0])
        raise InputError(
            f"column {name!r} must be {rule}",
            where=where,
            record=f"row {row + 1}",
            value=str(frame[name][row]),
        )
