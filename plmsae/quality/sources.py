"""Tables to check, wherever they lie: a frame, a file, or a folder of Parquet parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import polars as pl

from plmsae.core.errors import InputError, NotFoundError
from plmsae.quality.suites import ColumnType

BATCH_ROWS = 100_000
"""Rows turned into one pandas batch; bounds the memory, whatever the size of a part."""

TableLike: TypeAlias = pl.DataFrame | str | Path

_SUFFIXES = (".parquet", ".tsv", ".tsv.gz", ".csv", ".csv.gz")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as its parts, each scanned lazily.

    Attributes
    ----------
    name : str
        For messages and reports: the path, or ``frame``.
    parts : tuple of (str, polars.LazyFrame)
        Name and content of each part, sorted by name.
    """

    name: str
    parts: tuple[tuple[str, pl.LazyFrame], ...]

    def scan(self) -> pl.LazyFrame:
        """All parts as one lazy frame."""
        return pl.concat([part for _, part in self.parts], how="vertical_relaxed")

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """Column types, those of the first part."""
        return self.parts[0][1].collect_schema()

    def batches(self, columns: list[str]) -> Iterator[tuple[str, pl.DataFrame]]:
        """Yield the name of the part and at most `BATCH_ROWS` of its rows at a time.

        An empty part gives one empty batch, so that every part is looked at.
        """
        for name, part in self.parts:
            offset = 0
            while True:
                batch = part.select(columns).slice(offset, BATCH_ROWS).collect()
                if batch.height or offset == 0:
                    yield name, batch
                offset += BATCH_ROWS
                if batch.height < BATCH_ROWS:
                    break


def open_table(source: TableLike, *, what: str) -> Table:
    """Open a table.

    Parameters
    ----------
    source : polars.DataFrame, str or Path
        A frame; a ``.parquet``, ``.tsv`` or ``.csv`` file (the last two plain or gzipped); or a
        folder of Parquet parts.
    what : str
        What it is meant to be (``annotations``), for messages.

    Raises
    ------
    InputError
        If there is nothing there, it is none of these, or it cannot be read; or if the parts of a
        folder have different columns.
    """
    if isinstance(source, pl.DataFrame):
        return Table(name="frame", parts=(("frame", source.lazy()),))
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.glob("*.parquet") if not p.name.startswith("."))
        if not files:
            raise InputError(f"no Parquet parts of {what} in this folder", where=path)
    elif path.is_file():
        files = [path]
    else:
        raise NotFoundError(f"there are no {what} here: no such file or folder", where=path)
    parts = tuple((file.name, _scan(file)) for file in files)
    first: list[str] | None = None
    for file, (_, part) in zip(files, parts, strict=True):
        try:
            columns = part.collect_schema().names()
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError("the table cannot be read", where=file, value=reason) from error
        first = first or columns
        if columns != first:
            odd = ", ".join(sorted(set(columns) ^ set(first))) or "their order"
            raise InputError(f"parts differ in their columns: {odd}", where=file)
    return Table(name=str(path), parts=parts)


def _scan(file: Path) -> pl.LazyFrame:
    name = file.name.lower()
    if not name.endswith(_SUFFIXES):
        known = ", ".join(_SUFFIXES)
        raise InputError("not a table plmsae can open", where=file, hint=f"known: {known}")
    if name.endswith(".parquet"):
        return pl.scan_parquet(file, glob=False)
    separator = "\t" if ".tsv" in name else ","
    try:
        # Read whole: text tables are small here, and only a whole read finds a bad late row.
        return pl.read_csv(file, glob=False, separator=separator, infer_schema_length=None).lazy()
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError("the table cannot be read", where=file, value=reason) from error


def check_columns(
    table: Table, required: Mapping[str, ColumnType], optional: Mapping[str, ColumnType]
) -> list[str]:
    """Return the columns of `table` among those named, or say which are missing or mistyped.

    A table of the wrong shape is the caller's error, not bad data: it raises, where bad values
    would only fail an expectation.

    Raises
    ------
    InputError
        If a required column is missing, or one of either kind has another type.
    """
    schema = table.schema
    missing = [name for name in required if name not in schema]
    if missing:
        raise InputError(
            f"the table lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}",
            where=table.name,
            hint=f"it has {', '.join(schema) or 'none'}",
        )
    present = [name for name in (*required, *optional) if name in schema]
    wanted = {**required, **optional}
    for name in present:
        if not _is(schema[name], wanted[name]):
            raise InputError(
                f"the column {name} is not of type {wanted[name]}",
                where=table.name,
                value=str(schema[name]),
            )
    return present


def _is(dtype: pl.DataType, wanted: ColumnType) -> bool:
    if dtype == pl.Null:  # a column without a single value has no type yet
        return True
    if wanted == "string":
        return dtype in (pl.String, pl.Categorical, pl.Enum)
    return dtype.is_integer() if wanted == "integer" else dtype.is_numeric()
