"""Reading what a workflow works on, with every record accounted for."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from plmsae.core.errors import InputError, QualityError, printable
from plmsae.core.fingerprint import DataFingerprint, fingerprint_records
from plmsae.proteins.reading import count_proteins, read_proteins
from plmsae.proteins.records import Protein, Rejected
from plmsae.proteins.stream import byte_chunks, source_name, text_lines
from plmsae.proteins.tsv import SEQUENCE_HEADERS, find_column

if TYPE_CHECKING:
    import polars as pl

    from plmsae.quality.report import ValidationReport
    from plmsae.workflows.shared.progress import Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProteinSet:
    """Proteins held in memory.

    Attributes
    ----------
    source : str
        The input's name.
    proteins : tuple of Protein
    rejected : tuple of Rejected
    n_read : int
        Records of the input; more than were kept if a sample was asked for.
    """

    source: str
    proteins: tuple[Protein, ...]
    rejected: tuple[Rejected, ...]
    n_read: int

    @cached_property
    def sequences(self) -> list[str]:
        """The sequences, in order."""
        return [protein.sequence for protein in self.proteins]

    @property
    def fingerprint(self) -> DataFingerprint:
        """What exactly was used, for the registry."""
        return DataFingerprint(
            source=PurePath(source_name(self.source)).name,
            sha256=fingerprint_records(self.proteins),
            n_proteins=len(self.proteins),
            n_residues=sum(len(protein.sequence) for protein in self.proteins),
        )

    def frame(self) -> pl.DataFrame:
        """Return accession, length, sequence and status, as the quality suite takes them."""
        import polars as pl

        return pl.DataFrame(
            {
                "accession": [p.accession for p in self.proteins],
                "length": [len(p.sequence) for p in self.proteins],
                "sequence": self.sequences,
            },
            schema={"accession": pl.String, "length": pl.Int64, "sequence": pl.String},
        )

    def rejected_frame(self) -> pl.DataFrame:
        """Return the rejected records: accession, where, reason."""
        import polars as pl

        return pl.DataFrame(
            [(r.accession, r.where, r.reason) for r in self.rejected],
            schema={"accession": pl.String, "where": pl.String, "reason": pl.String},
            orient="row",
        )


def read_protein_set(
    source: str, *, max_proteins: int | None = None, seed: int = 0, progress: Progress
) -> ProteinSet:
    """Read a FASTA file or UniProt table; keep a random sample if `max_proteins` is given.

    Raises
    ------
    InputError
        If no usable protein is left.
    """
    proteins: list[Protein] = []
    rejected: list[Rejected] = []
    with progress.task(f"reading {PurePath(source_name(source)).name}") as task:
        total = count_proteins(source)
        for number, record in enumerate(read_proteins(source), start=1):
            if isinstance(record, Protein):
                proteins.append(record)
            else:
                rejected.append(record)
            if number % 5000 == 0:
                task.update(number, total)
        n_read = len(proteins) + len(rejected)
        task.update(n_read, n_read)
    if not proteins:
        first = rejected[0].reason if rejected else "it holds no records"
        raise InputError(f"no usable protein: {first}", where=source_name(source))
    if rejected:
        logger.warning(
            "%s: %d of %d records rejected; the first: %s (%s)",
            source,
            len(rejected),
            n_read,
            rejected[0].reason,
            rejected[0].where,
        )
    if max_proteins is not None and max_proteins < len(proteins):
        chosen = np.random.default_rng(seed).permutation(len(proteins))[:max_proteins]
        proteins = [proteins[i] for i in np.sort(chosen)]
    return ProteinSet(
        source=source, proteins=tuple(proteins), rejected=tuple(rejected), n_read=n_read
    )


def first_line(source: str) -> str:
    """Return the first line of a file that is not blank, decompressed."""
    lines = text_lines(source_name(source), byte_chunks(source))
    return next((line for line in lines if line.strip()), "")


def is_table(source: str) -> bool:
    """Say whether a file of proteins is a table (and so may carry labels), not FASTA."""
    return not first_line(source).startswith((">", ";"))


def has_sequences(source: str) -> bool:
    """Say whether a table has a column of sequences, as a UniProt export does."""
    try:
        return find_column(first_line(source).split("\t"), SEQUENCE_HEADERS) is not None
    except InputError:  # Parquet, or damaged in a way that its own reader explains better
        return False


def gate(
    kind: str,
    table: pl.DataFrame | Path,
    out: Path,
    context: Mapping[str, object],
    run: object | None = None,
    *,
    name: str | None = None,
    key: str | None = None,
) -> ValidationReport:
    """Check a table against its suite; log what was found; stop if a critical one fails.

    The run gets the page as an artifact, the numbers of expectations met, failed, with a warning
    and unchecked as metrics (``quality_KIND_met`` …), and the verdict as a tag (``quality_KIND``).
    `key` stands in for the kind where a run checks several tables of one kind.

    Raises
    ------
    QualityError
        If a critical expectation is not met; the page is logged anyway. Its outcome is a
        `FailedGate`.
    """
    from plmsae.quality.report import raise_if_critical
    from plmsae.quality.validation import validate
    from plmsae.tracking.runs import Run

    report = validate(kind, table, out_dir=out, context=context, name=name and printable(name))
    if isinstance(run, Run):
        key = key or kind
        run.log_artifact(out, f"quality/{key}")
        run.log_metrics(0, {f"quality_{key}_{word}": n for word, n in report.counts().items()})
        run.set_tags({f"quality_{key}": report.verdict})
    try:
        raise_if_critical(report)
    except QualityError as error:
        error.outcome = FailedGate(report=report)
        raise
    return report


def quality_rows(verdicts: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the verdicts of gates as rows of a run's summary."""
    return [(f"quality of the {kind}", str(found["verdict"])) for kind, found in verdicts.items()]


def check_proteins(
    proteins: ProteinSet, out: Path, run: object, *, key: str | None = None
) -> ValidationReport:
    """Put proteins that are held in memory through their gate; see `gate`.

    Raises
    ------
    QualityError
        If a critical expectation is not met.
    """
    rejected = proteins.rejected_frame()
    usable = proteins.n_read - len(proteins.rejected)
    # Of a sample, the share that was rejected is that of the whole file.
    rejected = rejected.head(math.ceil(rejected.height * len(proteins.proteins) / usable))
    context = {"rejected": rejected}
    return gate("proteins", proteins.frame(), out, context, run, name=proteins.source, key=key)


@dataclass(frozen=True, kw_only=True)
class FailedGate:
    """What a gate found that stopped a command."""

    report: ValidationReport

    def to_json(self) -> dict[str, Any]:
        """Return the verdicts as plain data."""
        return {"quality": {self.report.kind: self.report.verdicts()}}

    def lines(self) -> list[str]:
        """Return nothing: the error says it in words."""
        return []
