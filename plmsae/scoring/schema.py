"""The columns of every file that scoring writes, and the one way it writes Parquet.

The bytes of a Parquet file follow from its rows alone: fixed writer options, no timestamps. That is
what lets a resumed run promise the same bytes as one that was never stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from plmsae.core.atomic import atomic_path

if TYPE_CHECKING:
    import polars as pl

FORMAT_VERSION = 4
"""Version of the output contract; a folder of another version is refused."""


def _required(name: str, dtype: pa.DataType) -> pa.Field:
    return pa.field(name, dtype, nullable=False)


ANNOTATIONS = pa.schema(
    [
        _required("accession", pa.string()),
        _required("start", pa.int32()),  # 1-based inclusive
        _required("end", pa.int32()),  # 1-based inclusive
        _required("concept", pa.string()),
        _required("score", pa.float32()),  # highest activation in the span / max_activation
        pa.field("precision", pa.float64()),  # null: never measured
        pa.field("precision_low", pa.float64()),  # lower end of its 95 % Wilson interval
        pa.field("probability", pa.float32()),  # that this call is right; null: not calibrated
        _required("latents", pa.list_(_required("element", pa.int32()))),
        # Classes that the concept is a member of (Domain for Domain: SH3), not called beside it.
        _required("implied", pa.list_(_required("element", pa.string()))),
        _required("model_uri", pa.string()),
    ]
)
FEATURES = pa.schema(
    [
        _required("accession", pa.string()),
        pa.field("position", pa.int32()),  # 1-based; null for an SAE whose unit is the protein
        _required("latent", pa.int32()),
        _required("activation", pa.float32()),  # raw, not divided by max_activation
    ]
)
PROTEINS = pa.schema(
    [
        _required("accession", pa.string()),
        _required("length", pa.int32()),
        _required("sha256", pa.string()),  # of the sequence
        _required("status", pa.string()),  # scored | windowed
        _required("n_annotations", pa.int32()),
    ]
)
REJECTED = pa.schema(
    [
        _required("accession", pa.string()),
        _required("where", pa.string()),
        _required("reason", pa.string()),
    ]
)
PROPOSALS = pa.schema(
    [
        *(ANNOTATIONS.field(name) for name in ("accession", "start", "end", "concept")),
        pa.field("name", pa.string()),  # where the concept is an id: the name of a GO term
        ANNOTATIONS.field("score"),
        _required("precision", pa.float64()),  # of calls where the table has no label
        _required("precision_low", pa.float64()),  # ends of its 95 % interval
        pa.field("precision_high", pa.float64()),
        _required("call_precision", pa.float64()),  # of calls in general, most of them known labels
        pa.field("probability", pa.float32()),  # that this one is right
        ANNOTATIONS.field("latents"),
        ANNOTATIONS.field("implied"),
        _required("sequence_stretch", pa.string()),  # residues start..end
        # Proteins that fire the same latent on a label of the concept, most similar first.
        _required("evidence", pa.list_(_required("element", pa.string()))),
        # The nearest relative that has the label in the same place by alignment; null: none has.
        pa.field("homologue", pa.string()),
        pa.field("homologue_identity", pa.float64()),  # of that hit, in [0, 1]
        ANNOTATIONS.field("model_uri"),
    ]
)
ABSTAINED = pa.schema(
    [
        _required("concept", pa.string()),
        _required("reason", pa.string()),
        _required("n_withheld", pa.int64()),  # calls that would have been proposed
        pa.field("precision_low", pa.float64()),  # highest bound at which it proposes; null: none
    ]
)

TABLES: dict[str, pa.Schema] = {
    "annotations": ANNOTATIONS,
    "features": FEATURES,
    "proteins": PROTEINS,
    "rejected": REJECTED,
}
"""Table name (its folder) to schema, in the order a part is written."""


_OF_TABLES: dict[str, Any] = {
    "row_group_size": 131_072,
    "use_dictionary": True,
    "write_statistics": True,
}
# A row group is what a reader of one latent takes: small, with statistics of the latent alone so
# that the footer stays small too. The encodings save a third of the bytes.
_OF_FEATURES: dict[str, Any] = {
    "row_group_size": 4096,
    "use_dictionary": ["accession", "latent"],
    "write_statistics": ["latent"],
    "column_encoding": {"position": "DELTA_BINARY_PACKED", "activation": "BYTE_STREAM_SPLIT"},
}


def empty_frame(schema: pa.Schema) -> pl.DataFrame:
    """Return a polars frame without rows whose columns have the types of `schema`."""
    import polars as pl

    frame = pl.from_arrow(schema.empty_table())
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table never becomes a Series
    return frame


def write_table(target: Path, table: pa.Table | pl.DataFrame, schema: pa.Schema) -> None:
    """Do what `write_rows` does, atomically; the file is replaced if it exists."""
    with atomic_path(target) as temporary:
        write_rows(temporary, table, schema)


def write_rows(target: Path, table: pa.Table | pl.DataFrame, schema: pa.Schema) -> None:
    """Write rows as Parquet, with bytes that depend on the rows alone.

    Parameters
    ----------
    target : Path
        A file that nobody reads yet.
    table : pyarrow.Table or polars.DataFrame
        Must have exactly the columns of `schema`; types are cast, safely.
    schema : pyarrow.Schema
        One of this module's.
    """
    arrow = table if isinstance(table, pa.Table) else table.to_arrow()
    arrow = _non_null(arrow.select(schema.names), schema)
    pq.write_table(
        arrow,
        target,
        version="2.6",
        compression="zstd",
        compression_level=3,
        data_page_version="1.0",
        **(_OF_FEATURES if schema is FEATURES else _OF_TABLES),
    )


def _non_null(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast to `schema`, refusing a null in a column that may not hold one."""
    for field in schema:
        if not field.nullable and table.column(field.name).null_count:
            raise ValueError(f"column {field.name!r} holds nulls and may not")
    # pyarrow refuses to cast to a non-nullable list item, so build the arrays on nullable fields.
    arrays = [table.column(f.name).cast(_relaxed(f.type)).combine_chunks() for f in schema]
    arrays = [_tighten(array, f.type) for array, f in zip(arrays, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _relaxed(dtype: pa.DataType) -> pa.DataType:
    return pa.list_(dtype.value_type) if pa.types.is_list(dtype) else dtype


def _tighten(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    if not pa.types.is_list(dtype):
        return array
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return pa.ListArray.from_arrays(array.offsets, array.values, type=dtype)
