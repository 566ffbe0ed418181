"""The files of ``features/``: how a part's activations are laid out, and one latent found in them.

A part's rows are sorted by latent and cut into files of whole latents, whose names say which. Who
wants one latent opens one file of each part, reads its footer and the row groups that hold the
latent: about a thousandth of the data. A single file of a part would not do: the footer of a
Parquet file grows with its row groups, and must be read first.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from plmsae.core.errors import InputError
from plmsae.scoring.folder import ScoreFolder
from plmsae.scoring.schema import FEATURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE_ROWS = 131_072
"""Rows after which a file is closed; the last latent in it is never divided."""
_NAME = re.compile(r"part-(\d{5,})\.latents-(\d{5,})-(\d{5,})\.parquet")


def file_name(index: int, first: int, last: int) -> str:
    """Return the name of the file of part `index` with the latents `first` to `last`."""
    return f"part-{index:05d}.latents-{first:05d}-{last:05d}.parquet"


def cut_by_latent(
    latent_N: NDArray[np.int32], d_sae: int, file_rows: int = FILE_ROWS
) -> Iterator[tuple[int, int, slice]]:
    """Cut rows that are sorted by latent into files of whole latents.

    Parameters
    ----------
    latent_N : array of int32, shape (N,)
        The latent of each row, rising.
    d_sae : int
        How many latents there are.
    file_rows : int
        Rows after which a file is closed.

    Yields
    ------
    first, last, rows
        The first and the last latent of a file, and its rows. The files cover all latents from 0 to
        ``d_sae - 1``, and all rows.
    """
    ends_F = np.cumsum(np.bincount(latent_N, minlength=d_sae))
    first = start = 0
    while first < d_sae:
        last = min(int(np.searchsorted(ends_F, start + file_rows)), d_sae - 1)
        yield first, last, slice(start, int(ends_F[last]))
        first, start = last + 1, int(ends_F[last])


def read_latents(folder: ScoreFolder, latents: Sequence[int]) -> pa.Table:
    """Return all activations of some latents, and read little else.

    Parameters
    ----------
    folder : ScoreFolder
        A complete one, with features.

    Returns
    -------
    pyarrow.Table
        The columns of ``features/``: by part, then by latent, protein and position.

    Raises
    ------
    InputError
        If the run is not complete or kept no features, there is no such latent, or a file is
        missing or damaged.
    """
    manifest = folder.manifest()
    if manifest.n_features is None:
        raise InputError(
            "no features were kept here", where=folder.where, hint="score with --features"
        )
    found = sorted(
        match.groups() for name in folder.names("features") if (match := _NAME.fullmatch(name))
    )
    files = [(int(index), int(first), int(last)) for index, first, last in found]
    if len({index for index, _, _ in files}) != manifest.n_parts:
        raise InputError(
            "files are missing in features/", where=folder.where, hint="run the same score again"
        )
    n_latents = 1 + max((last for _, _, last in files), default=-1)
    for latent in latents:
        if not 0 <= latent < n_latents:
            raise InputError(
                f"the latents of this model are 0 to {n_latents - 1}",
                where="--latent",
                value=str(latent),
            )
    wanted = sorted(set(latents))
    tables = [FEATURES.empty_table()]
    for index, first, last in files:
        if here := [latent for latent in wanted if first <= latent <= last]:
            name = f"features/{file_name(index, first, last)}"
            try:
                with folder.open(name) as handle:
                    tables.append(_rows(handle, here))
            except (OSError, pa.ArrowException) as error:
                raise InputError(
                    f"{name} cannot be read: {error}",
                    where=folder.where,
                    hint="run the same score again",
                ) from error
    return pa.concat_tables(tables)


def _rows(handle: IO[bytes], latents: list[int]) -> pa.Table:
    """Read the rows of latents from an open file."""
    metadata = _footer(handle)
    column = FEATURES.get_field_index("latent")
    groups = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(column).statistics
        if any(statistics.min <= latent <= statistics.max for latent in latents):
            groups.append(group)
    with pq.ParquetFile(handle, metadata=metadata, pre_buffer=False) as file:
        table = file.read_row_groups(groups, use_threads=False)
    keep_N = np.isin(table.column("latent").to_numpy(), latents)
    return table.filter(pa.array(keep_N))


def _footer(handle: IO[bytes]) -> Any:
    """Read the metadata of a Parquet file; pyarrow itself takes 64 KB of its end to begin with."""
    size = handle.seek(0, io.SEEK_END)
    handle.seek(max(0, size - 8))
    tail = handle.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length + 12 > size:
        raise pa.ArrowInvalid("not a Parquet file, or cut short")
    handle.seek(size - 8 - length)
    return pq.read_metadata(io.BytesIO(b"PAR1" + handle.read(length) + tail))
