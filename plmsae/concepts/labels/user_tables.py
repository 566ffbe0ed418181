"""Small tables that people write themselves: labels of their own, shares by concept."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import polars as pl

from plmsae.core.errors import FormatError
from plmsae.proteins.stream import Source, byte_chunks, check_source, source_name, unix_text

LINE = "line of the file"
"""Column of `read_frame` that says where a row stands."""


def read_frame(path: Source, *, hint: str | None = None) -> pl.DataFrame:
    """Read a small table of anyone's: TSV or CSV (plain, gzip or zstd), or Parquet.

    Parameters
    ----------
    path : str or Path
        The table; a header with a tab makes it tab-separated, and then nothing is quoted.
    hint : str, optional
        What such a table needs, for messages.

    Returns
    -------
    polars.DataFrame
        All text (of Parquet, the types of the file), headers in lower case without blanks around,
        rows without any content left out, and `LINE`, the 1-based line of each row.

    Raises
    ------
    InputError
        If the file is damaged, of another kind, or a header occurs twice.
    """
    where = source_name(path)
    check_source(path)
    try:
        if where != "standard input" and _is_parquet(Path(path)):
            frame, first_line = pl.read_parquet(Path(path), glob=False), 2
        else:
            frame, first_line = _read_text(path, where)
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).splitlines()[0]
        raise FormatError("the table cannot be read", where=where, value=first, hint=hint) from None
    folded = [name.strip().casefold() for name in frame.columns]
    for name in folded:
        if name and folded.count(name) > 1:
            raise FormatError("a column occurs twice", where=where, value=name)
    frame.columns = folded
    filled = pl.any_horizontal(
        (pl.col(name).str.strip_chars() != "").fill_null(value=False)
        if dtype == pl.String
        else pl.col(name).is_not_null()
        for name, dtype in frame.schema.items()
    )
    return frame.with_row_index(LINE, offset=first_line).filter(filled)


def _read_text(path: Source, where: str) -> tuple[pl.DataFrame, int]:
    """Return the table and the line of its first row."""
    whole = b"".join(unix_text(byte_chunks(path)))
    data = whole.lstrip(b"\n")
    try:
        header = data.partition(b"\n")[0].decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError("the text is not UTF-8", where=where, line=1) from None
    tab = "\t" in header
    frame = pl.read_csv(
        BytesIO(data),
        separator="\t" if tab else ",",
        quote_char=None if tab else '"',
        infer_schema=False,
    )
    return frame, 2 + len(whole) - len(data)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(4) == b"PAR1"


def refuse_rows(bad: pl.Series, shown: pl.Series, what: str, where: str, lines: pl.Series) -> None:
    """Raise for the first row that is `bad`, with its line (see `LINE`)."""
    at = bad.arg_max() if bad.any() else None
    if at is not None:
        raise FormatError(what, where=where, line=int(lines[at]), value=str(shown[at] or ""))
