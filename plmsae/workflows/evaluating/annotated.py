"""Proteins with labels, split so that nothing is reported on what it was chosen on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plmsae.core.errors import InputError, printable
from plmsae.core.fingerprint import DataFingerprint, fingerprint_records
from plmsae.core.sketch import sketch_of
from plmsae.proteins.records import Protein
from plmsae.tracking.run_inputs import log_data
from plmsae.tracking.runs import Run
from plmsae.workflows.evaluating.protein_split import split_table, split_tables
from plmsae.workflows.shared.inputs import read_protein_set
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import EvaluateRequest

if TYPE_CHECKING:
    import polars as pl

    from plmsae.proteins.leak import Leak


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """Proteins, their labels, and which split each protein is in.

    Attributes
    ----------
    accessions, sequences : list of str
    labels : polars.DataFrame
        A label table.
    split : ndarray of str, shape (P,)
        ``select`` or ``report``.
    clusters : ndarray of int, shape (P,)
        Homology clusters; none spans both splits, except where the splits are two tables.
    how : str
        How the split was made, in words.
    leak : Leak
        The homologous pairs that the split parts.
    """

    accessions: list[str]
    sequences: list[str]
    labels: pl.DataFrame
    split: NDArray[np.str_]
    clusters: NDArray[np.int64]
    how: str
    leak: Leak

    def fingerprint(self, source: str, split: str) -> DataFingerprint:
        """Return what exactly one split holds."""
        chosen = [
            Protein(accession=a, sequence=s)
            for a, s, name in zip(self.accessions, self.sequences, self.split, strict=True)
            if name == split
        ]
        return DataFingerprint(
            source=printable(Path(source).name),
            sha256=fingerprint_records(chosen),
            n_proteins=len(chosen),
            n_residues=sum(len(p.sequence) for p in chosen),
        )

    def report_data(self, request: EvaluateRequest) -> DataFingerprint:
        """Return what the numbers of an evaluation are measured on."""
        return self.fingerprint(request.report_on or request.concepts, "report")

    def select_sketch(self) -> str:
        """Return a sketch of the proteins that concepts are chosen on; see `core.sketch`."""
        sides = zip(self.sequences, self.split, strict=True)
        return sketch_of(sequence for sequence, name in sides if name == "select")

    def report_labels_sha256(self) -> str:
        """Return the SHA-256 of the labels of the report split, whatever their order."""
        chosen = {
            a for a, name in zip(self.accessions, self.split, strict=True) if name == "report"
        }
        own = self.labels.filter(self.labels["accession"].is_in(list(chosen)))
        rows = own.select(sorted(own.columns)).sort(sorted(own.columns))
        return hashlib.sha256(rows.write_csv().encode()).hexdigest()

    def log(self, run: Run, request: EvaluateRequest) -> None:
        """Log both splits as inputs of a run."""
        log_data(run, self.fingerprint(request.concepts, "select"), "choose")
        log_data(run, self.report_data(request), "report")


def read_annotated(request: EvaluateRequest, progress: Progress) -> Annotated:
    """Read the tables of an evaluation and split their proteins.

    Raises
    ------
    InputError
        If labels and proteins do not fit, a split would be empty, or every concept is too rare:
        all before the PLM runs.
    """
    from plmsae.concepts.evaluation import check_common

    if request.report_on is not None and request.proteins is not None:
        raise InputError(
            "a plain label table is split, it has no second one",
            where="--report-on",
            hint="put both tables' labels and proteins into one, or give two UniProt tables",
        )
    with progress.task("reading and splitting annotated proteins") as task:
        table, labels = _read(request.concepts, request, progress)
        if request.report_on is not None:
            other, other_labels = _read(request.report_on, request, progress)
            divided = split_tables(table, other, request)
            labels = labels.vstack(other_labels)
        else:
            divided = split_table(table, request)
            labels = labels.filter(labels["accession"].is_in(divided.table["accession"].implode()))
        labels = _common(labels, request)
        check_common(
            labels,
            divided.table["accession"].to_list(),
            divided.table["sequence"].str.len_bytes().to_list(),
            divided.names,
            min_instances=request.min_instances,
        )
        task.update(1, 1)
    return Annotated(
        accessions=divided.table["accession"].to_list(),
        sequences=divided.table["sequence"].to_list(),
        labels=labels,
        split=divided.names,
        clusters=divided.clusters,
        how=divided.how,
        leak=divided.leak,
    )


def _read(
    path: str, request: EvaluateRequest, progress: Progress
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return proteins (accession, sequence, and what else a UniProt table has) and labels."""
    import polars as pl

    from plmsae.concepts.labels.label_table import (
        check_labels,
        labels_from_uniprot,
        read_labels,
        with_interplm_kinds,
    )
    from plmsae.proteins.uniprot import read_table

    if request.proteins is not None:
        proteins = read_protein_set(request.proteins, seed=request.seed, progress=progress)
        table = proteins.frame().with_columns(pl.lit(None, pl.String).alias("cluster"))
        labels = read_labels(Path(path))
        check_labels(labels, table, where=path)
    else:
        table = read_table(Path(path))
        labels = labels_from_uniprot(table)
    if request.kinds == "interplm":
        labels = with_interplm_kinds(labels)
    if request.max_proteins is not None and request.max_proteins < table.height:
        order = np.random.default_rng(request.seed).permutation(table.height)
        table = table[np.sort(order[: request.max_proteins])]
        labels = labels.filter(pl.col("accession").is_in(table["accession"].implode()))
    if labels.height == 0:
        raise InputError("no labels for any protein", where=path)
    return table, labels


def _common(labels: pl.DataFrame, request: EvaluateRequest) -> pl.DataFrame:
    """Keep the labels of the concepts that are as common as asked for."""
    from plmsae.concepts.labels.label_table import filter_concepts

    if not (request.min_residues or request.min_spans):
        return labels
    kept = filter_concepts(labels, min_residues=request.min_residues, min_spans=request.min_spans)
    if not kept.height:
        raise InputError(
            f"no concept has {request.min_residues} labelled residues and {request.min_spans} "
            "spans or sites",
            where="--min-residues" if request.min_residues else "--min-spans",
        )
    return kept


def label_context(data: Annotated) -> dict[str, Any]:
    """Return what the quality suite of labels compares with."""
    import polars as pl

    lengths = [len(s) for s in data.sequences]
    return {"proteins": pl.DataFrame({"accession": data.accessions, "length": lengths})}
