"""The one way in which scoring writes Parquet.

The bytes of a file follow from its rows and its model: fixed writer options, no timestamps. That is
why a resumed run writes the same bytes as one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from plmsae.core.atomic import atomic_path
from plmsae.scoring.schema import FEATURES

if TYPE_CHECKING:
    import polars as pl

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


def made_by(model_uri: str, model_sha256: str) -> dict[str, str]:
    """Return what the files of a model say of it, as `write_rows` takes it."""
    return {"plmsae.model": model_uri, "plmsae.model_sha256": model_sha256}


def write_table(
    target: Path,
    table: pa.Table | pl.DataFrame,
    schema: pa.Schema,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Do what `write_rows` does, atomically; the file is replaced if it exists."""
    with atomic_path(target) as temporary:
        write_rows(temporary, table, schema, facts)


def write_rows(
    target: Path,
    table: pa.Table | pl.DataFrame,
    schema: pa.Schema,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write rows as Parquet, with bytes that depend on the arguments alone.

    Parameters
    ----------
    target : Path
        A file that nobody reads yet.
    table : pyarrow.Table or polars.DataFrame
        Must have exactly the columns of `schema`; types are cast, safely.
    schema : pyarrow.Schema
        One of this module's; the file's footer says what its columns mean.
    facts : mapping of str to str, optional
        What else the footer says: `made_by`.
    """
    arrow = table if isinstance(table, pa.Table) else table.to_arrow()
    arrow = _non_null(arrow.select(schema.names), schema)
    arrow = arrow.replace_schema_metadata({**schema.metadata, **(facts or {})})
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
