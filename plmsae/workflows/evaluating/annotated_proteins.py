"""Proteins with terms of the whole protein, split so that no family is on both sides."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plmsae.concepts.enrichment.term_confirmation import SplitTerms, lay_out
from plmsae.concepts.labels.protein_terms import ProteinTerms, gather_terms
from plmsae.core.errors import InputError, printable
from plmsae.proteins.reading import read_proteins
from plmsae.proteins.records import Rejected
from plmsae.proteins.stream import need_file
from plmsae.workflows.evaluating.annotated import Annotated
from plmsae.workflows.evaluating.protein_split import choose_sides, divide
from plmsae.workflows.shared.inputs import ProteinSet
from plmsae.workflows.shared.progress import Progress, step
from plmsae.workflows.shared.requests import EvaluateRequest

if TYPE_CHECKING:
    import polars as pl

    from plmsae.proteins.ontology import Ontology


@dataclass(frozen=True, kw_only=True)
class AnnotatedProteins:
    """Proteins, their terms, and how both are laid out for the tests."""

    data: Annotated
    """Proteins and their split; `labels` are the terms as labels of whole proteins."""
    terms: ProteinTerms
    layout: SplitTerms
    ontology: Ontology | None
    ontology_name: str
    rejected: pl.DataFrame
    """Records of the tables that could not be used: ``accession``, ``where``, ``reason``."""

    def ontology_note(self) -> dict[str, str | None]:
        """Return what the bundle keeps of the ontology, for `fill`; None without one."""
        version = self.ontology.version if self.ontology is not None else ""
        return {"ontology": self.ontology_name or None, "ontology_version": version or None}


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
    for source in (request.concepts, request.report_on):
        if source is not None:
            need_file(source, why="a protein-level evaluation reads it twice")
    if request.kinds != "own":
        raise InputError(
            "terms of whole proteins are not counted by residue",
            where="--kinds",
            hint="leave it out",
        )
    if request.min_residues or request.min_spans:
        raise InputError(
            "terms of whole proteins have no residues or spans",
            where="--min-residues" if request.min_residues else "--min-spans",
            hint="--min-instances counts their proteins",
        )
    with step(progress, "reading and splitting annotated proteins"):
        ontology = read_obo(request.ontology) if request.ontology is not None else None
        sources = [request.concepts] + ([request.report_on] if request.report_on else [])
        tables = [_read(source, request) for source in sources]
        name = printable(Path(request.ontology).name) if request.ontology is not None else ""
        # Tables that say nothing of whole proteins are refused before homologues are searched for.
        terms = gather_terms(tables, ontology, ontology_name=name)
        sides = choose_sides(tables, request)
        kept = sides.table["accession"]
        if kept.len() < sum(table.height for table in tables):
            # A split by organism leaves out proteins of no named one: they are no background.
            tables = [table.filter(table["accession"].is_in(kept.implode())) for table in tables]
            terms = gather_terms(tables, ontology, ontology_name=name)
        accessions, split = kept.to_list(), sides.names
        least = request.min_instances
        layout = lay_out(terms.table, accessions, split, sides.clusters, min_proteins=least)
        labels = term_labels(terms.table, accessions, split, min_instances=least)
        divided = divide(sides, request)
        data = Annotated(
            accessions=accessions,
            sequences=divided.table["sequence"].to_list(),
            labels=labels,
            split=split,
            clusters=divided.clusters,
            how=divided.how,
            leak=divided.leak,
        )
        rejected = pl.concat([_rejected(source) for source in sources])
    return AnnotatedProteins(
        data=data,
        terms=terms,
        layout=dataclasses.replace(layout, cluster_P=divided.clusters),
        ontology=ontology,
        ontology_name=name,
        rejected=rejected,
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
