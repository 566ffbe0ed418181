"""Proteins with terms of the whole protein, split so that no family is on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plmsae.concepts.protein_terms import ProteinTerms, gather_terms
from plmsae.concepts.term_confirmation import Layout, lay_out
from plmsae.errors import InputError
from plmsae.proteins.reading import read_proteins
from plmsae.proteins.records import Rejected
from plmsae.workflows.annotated import Annotated
from plmsae.workflows.inputs import ProteinSet
from plmsae.workflows.progress import Progress
from plmsae.workflows.requests import EvaluateRequest

if TYPE_CHECKING:
    import polars as pl

    from plmsae.proteins.ontology import Ontology


@dataclass(frozen=True, kw_only=True)
class AnnotatedProteins:
    """Proteins, their terms, and how both are laid out for the tests."""

    data: Annotated
    """Proteins and their split; `labels` are the terms as labels of whole proteins."""
    terms: ProteinTerms
    layout: Layout
    ontology: Ontology | None
    rejected: pl.DataFrame
    """Records of the tables that could not be used: ``accession``, ``where``, ``reason``."""


def read_annotated_proteins(request: EvaluateRequest, progress: Progress) -> AnnotatedProteins:
    """Read the tables and the ontology of an evaluation and split their proteins.

    Whatever can be wrong with them is found here, before anything is written.

    Raises
    ------
    InputError
        If a table or the ontology is damaged or they do not fit, or no term is common enough.
    """
    import polars as pl

    from plmsae.concepts.protein_evaluation import term_labels
    from plmsae.proteins.ontology import read_obo

    if request.proteins is not None:
        raise InputError(
            "a protein-level model takes its sequences from the UniProt table",
            where="--proteins",
            hint="leave it out",
        )
    with progress.task("reading and splitting annotated proteins") as task:
        ontology = read_obo(request.ontology) if request.ontology is not None else None
        sources = [request.concepts] + ([request.report_on] if request.report_on else [])
        tables = [_read(source, request) for source in sources]
        name = Path(request.ontology).name if request.ontology is not None else ""
        terms = gather_terms(tables, ontology, ontology_name=name)
        clusters, split, how = _split(tables, request)
        accessions = [a for table in tables for a in table["accession"]]
        layout = lay_out(
            terms.table, accessions, split, clusters, min_proteins=request.min_instances
        )
        data = Annotated(
            accessions=accessions,
            sequences=[s for table in tables for s in table["sequence"]],
            labels=term_labels(terms.table, accessions, split, min_instances=request.min_instances),
            split=split,
            clusters=clusters,
            how=how,
        )
        rejected = pl.concat([_rejected(source) for source in sources])
        task.update(1, 1)
    return AnnotatedProteins(
        data=data, terms=terms, layout=layout, ontology=ontology, rejected=rejected
    )


def _read(source: str, request: EvaluateRequest) -> pl.DataFrame:
    from plmsae.proteins.uniprot import read_table

    table = read_table(Path(source))
    if request.max_proteins is not None and request.max_proteins < table.height:
        order = np.random.default_rng(request.seed).permutation(table.height)
        table = table[np.sort(order[: request.max_proteins])]
    return table


def _rejected(source: str) -> pl.DataFrame:
    # `read_table` leaves such rows out; the gate wants to know which.
    records = [record for record in read_proteins(source) if isinstance(record, Rejected)]
    made = ProteinSet(source=source, proteins=(), rejected=tuple(records), n_read=len(records))
    return made.rejected_frame()


def _split(
    tables: list[pl.DataFrame], request: EvaluateRequest
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return cluster and split of each protein, as `read_annotated` does, and how it was made."""
    from plmsae.proteins.splits import cluster_table, split

    first = tables[0]
    if len(tables) == 1:
        clusters = cluster_table(first)
        share = {"select": request.select_share, "report": 1 - request.select_share}
        names = np.array(["select", "report"])[split(clusters, share, request.seed)]
        return clusters, names, "homology clusters, none in both splits"
    other = tables[1]
    if shared := set(first["accession"]) & set(other["accession"]):
        raise InputError(
            f"{len(shared)} accessions are in both tables",
            where=request.report_on,
            value=min(shared),
        )
    # A select protein is a cluster of its own: only the report proteins' clusters count.
    clusters = np.concatenate([np.arange(first.height), first.height + cluster_table(other)])
    names = np.repeat(["select", "report"], [first.height, other.height])
    chosen, reported = Path(request.concepts).name, Path(str(request.report_on)).name
    return clusters, names, f"chosen on {chosen}, reported on {reported}"
