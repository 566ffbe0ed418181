"""An input that was parsed once, with its records on disk in the parts that will be scored.

Checking the proteins, counting them and scoring them all need every record. Parsing a proteome is
slow and can fail, so it is done once, before any work that depends on it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from plmsae.core.errors import printable
from plmsae.proteins.reading import read_proteins
from plmsae.proteins.records import Protein, Rejected
from plmsae.scoring.parts import InputTally, Part, Survey, cut

if TYPE_CHECKING:
    import polars as pl

_PROTEINS = pa.schema(
    {
        "accession": pa.string(),
        "length": pa.int64(),
        "sequence": pa.string(),
        "description": pa.string(),
        "where": pa.string(),
    }
)
_REJECTED = pa.schema({"accession": pa.string(), "where": pa.string(), "reason": pa.string()})


@dataclass(frozen=True, kw_only=True)
class Spool:
    """The records of an input; `spooled` makes one."""

    name: str
    """Name of the input, without its folder."""
    part_residues: int
    """Residues that fill a part."""
    strict: bool
    """Whether a record that cannot be used stopped the reading."""
    proteins: Path
    """Parquet file of the usable proteins: accession, length, sequence, description, where."""
    rejected: Path
    """Parquet file of the others: accession, where, reason."""
    sizes: tuple[tuple[int, int], ...]
    """How many of both each part has."""
    sha256: tuple[str, ...]
    """Fingerprint of the records of each part."""
    survey: Survey
    """What all parts hold together."""

    def parts(self) -> Iterator[Part]:
        """Yield the parts in order, one in memory at a time."""
        with pq.ParquetFile(self.proteins) as proteins, pq.ParquetFile(self.rejected) as rejected:
            # A part without a row has no row group.
            next_proteins = next_rejected = 0
            for index, (n_proteins, n_rejected) in enumerate(self.sizes):
                kept: list[Protein] = []
                left_out: list[Rejected] = []
                if n_proteins:
                    rows = proteins.read_row_group(next_proteins).drop_columns("length")
                    kept = [Protein(**row) for row in rows.to_pylist()]
                    next_proteins += 1
                if n_rejected:
                    rows = rejected.read_row_group(next_rejected)
                    left_out = [Rejected(**row) for row in rows.to_pylist()]
                    next_rejected += 1
                yield Part(index=index, proteins=tuple(kept), rejected=tuple(left_out))


@contextmanager
def spooled(
    source: str | Path,
    part_residues: int,
    *,
    strict: bool = False,
    records: Iterable[Protein | Rejected] | None = None,
) -> Iterator[Spool]:
    """Parse an input and keep its records in a temporary folder until the block ends.

    Parameters
    ----------
    source : str or Path
        As for `read_proteins`.
    part_residues : int
        Residues that fill a part.
    strict : bool
        Raise at the first record that cannot be used.
    records : iterable of Protein or Rejected, optional
        Those of `source`, where it is being read already.

    Raises
    ------
    InputError
        As `read_proteins` does.
    """
    sizes, fingerprints = [], []
    tally = InputTally()
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch) / f"{name}.parquet" for name in ("proteins", "rejected")]
        with (
            pq.ParquetWriter(files[0], _PROTEINS, compression="zstd") as proteins,
            pq.ParquetWriter(files[1], _REJECTED, compression="zstd") as rejected,
        ):
            if records is None:
                records = read_proteins(source, strict=strict)
            for part in cut(records, part_residues):
                fingerprints.append(part.sha256)
                tally.add(part, fingerprints[-1])
                sizes.append((len(part.proteins), len(part.rejected)))
                if part.proteins:
                    rows = [_row(p) | {"length": len(p.sequence)} for p in part.proteins]
                    proteins.write_table(pa.Table.from_pylist(rows, _PROTEINS))
                if part.rejected:
                    rows = [_row(r) for r in part.rejected]
                    rejected.write_table(pa.Table.from_pylist(rows, _REJECTED))
        yield Spool(
            name=printable(Path(source).name),
            part_residues=part_residues,
            strict=strict,
            proteins=files[0],
            rejected=files[1],
            sizes=tuple(sizes),
            sha256=tuple(fingerprints),
            survey=tally.survey(),
        )


@contextmanager
def spooled_table(
    source: str | Path, part_residues: int, *, strict: bool = False
) -> Iterator[tuple[Spool, pl.DataFrame]]:
    """Parse a UniProt table once, into its records, as `spooled` does, and its rows.

    Raises
    ------
    InputError
        As `read_table` does.
    """
    from plmsae.proteins.uniprot import TableRecords

    records = TableRecords(source, strict=strict)
    with spooled(source, part_residues, strict=strict, records=records) as spool:
        yield spool, records.frame()


def _row(record: Protein | Rejected) -> dict[str, str | int]:
    return {name: getattr(record, name) for name in type(record).__slots__}
