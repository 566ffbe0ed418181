"""Build the site of a model: every latent, and proteins seen through them; or serve it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from plmsae.core.errors import InputError, NotFoundError
from plmsae.core.json_files import read_json
from plmsae.proteins.stream import need_file, source_name
from plmsae.registry.models import HEADLINE_METRICS, resolve_exactly
from plmsae.registry.pages import ATLAS, link_page
from plmsae.tracking.runs import start_run
from plmsae.workflows.scoring.input_gate import beside
from plmsae.workflows.shared.device import check_device
from plmsae.workflows.shared.inputs import ProteinSet, check_proteins, is_table, read_protein_set
from plmsae.workflows.shared.outcome import Outcome
from plmsae.workflows.shared.progress import Progress, step
from plmsae.workflows.shared.requests import AtlasRequest, request_params
from plmsae.workflows.shared.swissprot_sample import SAMPLE

if TYPE_CHECKING:
    import polars as pl
    from scipy.sparse import csr_array

    from plmsae.bundle.reading import Bundle
    from plmsae.encode import Encoder
    from plmsae.proteins.ontology import Ontology
    from plmsae.reports.report import FeatureReport

_N_TERMS = 12


@dataclass(frozen=True, kw_only=True)
class AtlasOutcome(Outcome):
    """What the site holds."""

    site: Path
    """To open in a browser."""
    single: Path
    """The same in one file."""
    n_latents: int
    """Latents with a page."""
    n_proteins: int
    n_compared: int = 0
    n_structures: int = 0

    def lines(self) -> list[str]:
        """Return it in words."""
        return [
            f"{self.n_latents} latents, {self.n_proteins} proteins, "
            f"{self.n_structures} structures, {self.n_compared} models compared",
            f"open {self.site}",
        ]


def run(request: AtlasRequest, progress: Progress) -> AtlasOutcome:
    """Build the site; with ``serve``, serve it until interrupted.

    Raises
    ------
    InputError
        If the model, the proteins or a folder are wrong.
    QualityError
        If the proteins fail a critical expectation; the page lies in ``OUT-quality``.
    """
    from plmsae.atlas.site import MARK

    there = (request.out / MARK).is_file()
    if not request.serve:
        return _build(request, progress)
    outcome = _there(request.out) if there and request.model is None else _build(request, progress)
    _serve(request, progress)
    return outcome


def _there(out: Path) -> AtlasOutcome:
    from plmsae.atlas.site import MARK

    made = read_json(out / MARK)
    return AtlasOutcome(
        site=out / "index.html",
        single=out / "atlas.html",
        **{name: int(made[name]) for name in ("n_latents", "n_proteins")},
    )


def _build(request: AtlasRequest, progress: Progress) -> AtlasOutcome:
    from plmsae.atlas.index import index_of
    from plmsae.atlas.site import LATENTS_PER_CHUNK, PROTEINS_PER_CHUNK, check_folder, write_site
    from plmsae.proteins.ontology import read_obo
    from plmsae.scoring.encoding import load_encoder

    if request.model is None:
        raise InputError("which model?", where="plmsae atlas", hint="plmsae models lists them")
    check_folder(request.out)
    if request.structures is not None and not request.structures.is_dir():
        raise NotFoundError("no such folder", where=request.structures)
    check_device(request.device)
    source = request.proteins or str(SAMPLE)
    need_file(source, why="the atlas reads it twice")
    bundle, uri = _residue_model(request.model)
    others = [_residue_model(reference) for reference in request.compare]
    written = _written(request.reports, uri)
    if request.proposals is not None:
        _proposals_file(request.proposals)
    ontology = None if request.ontology is None else read_obo(request.ontology)
    proteins = read_protein_set(
        source, max_proteins=request.max_proteins, seed=request.seed, progress=progress
    )
    accessions = [protein.accession for protein in proteins.proteins]
    table, labels = _table_and_labels(source, accessions)
    with start_run(
        experiment="plmsae-atlas",
        run_name=f"atlas {bundle.name}",
        params=request_params(request, model=uri, proteins=source),
    ) as tracked:
        check_proteins(proteins, beside(request.out, "quality") / "proteins", tracked)
        device: Any = request.device
        encoder = load_encoder(bundle, device=device)
        latents = _encode(encoder, proteins, bundle.name, progress)
        reports = _reports(bundle, latents, proteins, table, labels, written, progress)
        with step(progress, "relating latents"):
            terms = None if table is None else _terms(table, ontology)
            pages, places_F2 = _latent_pages(
                bundle, encoder, latents, reports, accessions, terms, request.seed
            )
        protein_pages = _protein_pages(request, bundle, uri, proteins, latents, labels)
        ours = _side(bundle, uri, encoder, latents)
        compared = _compared(ours, others, device, proteins, progress)
        structures = _structures(request, proteins, reports)
        index = index_of(
            model=_about(bundle, uri),
            source=PurePath(source_name(source)).name,
            features=bundle.features,
            concepts=bundle.concepts,
            reports=reports,
            places_F2=places_F2,
            proteins=protein_pages,
            structures=[i for i, accession in enumerate(accessions) if accession in structures],
            compared=compared,
            chunk_sizes={"latents": LATENTS_PER_CHUNK, "proteins": PROTEINS_PER_CHUNK},
        )
        counts = {"n_latents": len(reports), "n_proteins": len(accessions)}
        with step(progress, "writing the site"):
            paths = write_site(
                request.out,
                index=index,
                latents=pages,
                proteins=protein_pages,
                compared=compared,
                structures=structures,
                made_from={
                    "model": _lasting_reference(request.model, uri),
                    "min_precision": request.min_precision,
                    "features_per_protein": request.features_per_protein,
                    **counts,
                },
            )
        tracked.log_artifact(paths["single"], "atlas")
        tracked.log_metrics(0, {name: float(value) for name, value in counts.items()})
        text = f"{counts['n_latents']:,} features on {counts['n_proteins']:,} proteins"
        link_page(tracked, uri, ATLAS, text, "atlas/atlas.html")
    return AtlasOutcome(
        site=paths["site"],
        single=paths["single"],
        n_latents=len(reports),
        n_proteins=len(accessions),
        n_compared=len(compared),
        n_structures=len(structures),
    )


def _reports(
    bundle: Bundle,
    latents: Sequence[csr_array],
    proteins: ProteinSet,
    table: pl.DataFrame | None,
    labels: pl.DataFrame | None,
    written: Mapping[int, dict[str, Any]],
    progress: Progress,
) -> dict[int, FeatureReport]:
    """Describe every latent by its evidence, or in the words already written of it."""
    from plmsae.reports.collecting import build_evidence
    from plmsae.reports.describe import describe_all
    from plmsae.reports.metadata import protein_metadata

    with step(progress, "collecting evidence on every latent"):
        evidence = build_evidence(
            bundle.features,
            bundle.concepts,
            latents,
            [protein.accession for protein in proteins.proteins],
            proteins.sequences,
            labels,
            latents_to_report=bundle.features.height,
            metadata=protein_metadata(proteins.proteins, table),
        )
    return {
        report.evidence.latent: dataclasses.replace(
            report, **written.get(report.evidence.latent, {})
        )
        for report in describe_all(evidence, client=None)
    }


def _compared(
    ours: Any,
    others: list[tuple[Bundle, str]],
    device: Any,
    proteins: ProteinSet,
    progress: Progress,
) -> list[dict[str, Any]]:
    from plmsae.atlas.compare import comparison
    from plmsae.scoring.encoding import load_encoder

    compared = []
    for other, other_uri in others:
        theirs = load_encoder(other, device=device)
        other_latents = _encode(theirs, proteins, other.name, progress)
        compared.append(comparison(ours, _side(other, other_uri, theirs, other_latents)))
    return compared


def _structures(
    request: AtlasRequest, proteins: ProteinSet, reports: Mapping[int, FeatureReport]
) -> dict[str, Path]:
    from plmsae.atlas.structures import fetch_structures, structures_in

    accessions = [protein.accession for protein in proteins.proteins]
    found: dict[str, Path] = {}
    if request.structures is not None:
        found = structures_in(request.structures, accessions)
    if request.fetch_structures:
        strongest = Counter(
            report.evidence.examples[0].accession
            for report in reports.values()
            if report.evidence.examples
        )
        sequences = dict(zip(accessions, proteins.sequences, strict=True))
        missing = [name for name, _ in strongest.most_common() if name not in found]
        wanted = {name: sequences[name] for name in missing[: request.fetch_structures]}
        found |= fetch_structures(wanted)
    return found


def _lasting_reference(reference: str, uri: str) -> str:
    # The URI of a bundle folder does not lead back to it.
    return uri if uri.startswith("models:") else str(Path(reference).resolve())


def _residue_model(reference: str) -> tuple[Bundle, str]:
    bundle, uri = resolve_exactly(reference)
    if bundle.meta.unit != "residue":
        raise InputError(
            "the atlas draws features along sequences: it needs a residue-level SAE",
            where=reference,
        )
    return bundle, uri


def _encode(
    encoder: Encoder, proteins: ProteinSet, name: str, progress: Progress
) -> list[csr_array]:
    found: dict[int, csr_array] = {}
    total = len(proteins.proteins)
    with progress.task(f"encoding {total} proteins with {name}") as task:
        for index, rows in encoder.stream(proteins.sequences):
            found[index] = rows
            task.update(len(found), total)
    return [found[index] for index in range(total)]


def _table_and_labels(
    source: str, accessions: Sequence[str]
) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
    import polars as pl

    from plmsae.concepts.labels.label_table import labels_from_uniprot
    from plmsae.proteins.uniprot import read_table

    if not is_table(source):
        return None, None
    table = read_table(Path(source)).filter(
        pl.col("accession").is_in(pl.Series(accessions).implode())
    )
    return table, labels_from_uniprot(table)


def _terms(table: pl.DataFrame, known: Ontology | None) -> pl.DataFrame:
    from plmsae.concepts.labels.protein_labels import protein_concepts

    terms = protein_concepts(table, known)
    if known is None:
        return terms
    import polars as pl

    ids = terms["concept"].unique().to_list()
    names = {term: f"{term} {known[term].name}" for term in ids if term in known}
    return terms.with_columns(pl.col("concept").replace(names))


def _written(path: Path | None, uri: str) -> dict[int, dict[str, Any]]:
    """Return what was written of each latent in a ``report.json``, as fields of a report."""
    if path is None:
        return {}
    from plmsae.reports.testing.scores import PredictionTest

    stored = read_json(path)
    try:
        if stored["about"]["model"] != uri:
            raise InputError(
                f"the reports are of {stored['about']['model']}, the atlas of {uri}", where=path
            )
        texts = ("title", "claim", "description", "author", "note")
        return {
            int(feature["evidence"]["latent"]): {
                **{name: str(feature[name]) for name in texts},
                "tests": tuple(PredictionTest(**test) for test in feature["tests"]),
                "reasons": tuple(str(reason) for reason in feature["reasons"]),
            }
            for feature in stored["features"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("not a report.json of plmsae report", where=path) from error


def _latent_pages(
    bundle: Bundle,
    encoder: Encoder,
    latents: Sequence[csr_array],
    reports: Mapping[int, FeatureReport],
    accessions: Sequence[str],
    terms: pl.DataFrame | None,
    seed: int,
) -> tuple[list[dict[str, Any] | None], np.ndarray[Any, Any]]:
    from plmsae.atlas.latents import (
        N_NEAREST,
        enriched_terms,
        highest_in_proteins,
        histograms,
        latent_page,
    )
    from plmsae.atlas.relations import map_of, nearest_directions
    from plmsae.concepts.latents import scale, stack_rows

    highest_F = bundle.features["max_activation"].to_numpy()
    scaled = [scale(array, highest_F) for array in latents]
    counts = histograms(stack_rows(scaled))
    directions_FD = _directions(encoder)
    near_Fn, cosine_Fn = nearest_directions(directions_FD, n=N_NEAREST)
    shown_F = np.array([latent in reports for latent in range(len(highest_F))])
    enriched = {}
    if terms is not None:
        enriched = enriched_terms(highest_in_proteins(scaled), accessions, terms, n=_N_TERMS)
    pages: list[dict[str, Any] | None] = [None] * len(highest_F)
    for latent, report in reports.items():
        pages[latent] = latent_page(
            report,
            histogram=[int(count) for count in counts[latent]],
            nearest=[
                (int(other), round(float(cosine), 4))
                for other, cosine in zip(near_Fn[latent], cosine_Fn[latent], strict=True)
            ],
            terms=enriched.get(latent, []),
        )
    return pages, map_of(directions_FD, shown_F, seed=seed)


def _directions(encoder: Encoder) -> np.ndarray[Any, Any]:
    directions: np.ndarray[Any, Any] = encoder.sae.W_dec_FD.detach().float().cpu().numpy()
    return directions


def _protein_pages(
    request: AtlasRequest,
    bundle: Bundle,
    uri: str,
    proteins: ProteinSet,
    latents: Sequence[csr_array],
    labels: pl.DataFrame | None,
) -> list[dict[str, Any]]:
    import polars as pl

    from plmsae.atlas.proteins import calls_by_protein, protein_page

    annotations = calls_by_protein(
        _annotate(bundle, uri, request.min_precision, proteins.proteins, latents)
    )
    proposals = {}
    if request.proposals is not None:
        proposals = calls_by_protein(pl.read_parquet(_proposals_file(request.proposals)))
    known: dict[str, list[tuple[int, int, str]]] = {}
    if labels is not None:
        for accession, *label in labels.select("accession", "start", "end", "concept").iter_rows():
            known.setdefault(accession, []).append((label[0], label[1], label[2]))
    highest_F = bundle.features["max_activation"].to_numpy()
    return [
        protein_page(
            protein.accession,
            protein.description,
            protein.sequence,
            rows,
            highest_F,
            n_features=request.features_per_protein,
            labels=known.get(protein.accession, ()),
            annotations=annotations.get(protein.accession, ()),
            proposals=proposals.get(protein.accession, ()),
        )
        for protein, rows in zip(proteins.proteins, latents, strict=True)
    ]


def _proposals_file(folder: Path) -> Path:
    path = folder / "proposals" / "part-00000.parquet"
    if not path.is_file():
        raise NotFoundError("no proposals: not a folder of plmsae fill", where=folder)
    return path


def _annotate(
    bundle: Bundle,
    uri: str,
    min_precision: float | None,
    proteins: Sequence[Any],
    latents: Sequence[csr_array],
) -> pl.DataFrame:
    from plmsae.scoring.annotate import Annotator
    from plmsae.scoring.encoding import Encoded

    bound = bundle.meta.min_precision if min_precision is None else min_precision
    annotator = Annotator(bundle, model_uri=uri, min_precision=bound)
    return annotator.annotations(
        Encoded(proteins=tuple(proteins), latents=tuple(latents), rejected=())
    )


def _side(bundle: Bundle, uri: str, encoder: Encoder, latents: Sequence[csr_array]) -> Any:
    from plmsae.atlas.compare import Side
    from plmsae.concepts.latents import scale, stack_rows

    return Side(
        name=bundle.name,
        uri=uri,
        same_space=(bundle.meta.plm, bundle.meta.d_in),
        directions_FD=_directions(encoder),
        active_NF=scale(stack_rows(latents), bundle.features["max_activation"].to_numpy()),
        features=bundle.features,
        concepts=bundle.concepts,
    )


def _about(bundle: Bundle, uri: str) -> dict[str, Any]:
    meta = bundle.meta
    return {
        "name": bundle.name,
        "uri": uri,
        "plm": meta.plm if "/" not in meta.plm else PurePath(meta.plm).name,
        "layer": meta.layer,
        "arch": meta.arch,
        "k": meta.k,
        "d_sae": meta.d_sae,
        "metrics": {
            name: round(float(meta.metrics[name]), 4)
            for name in HEADLINE_METRICS
            if name in meta.metrics
        },
    }


def _serve(request: AtlasRequest, progress: Progress) -> None:
    from plmsae.atlas.serve import AtlasServer
    from plmsae.atlas.site import MARK
    from plmsae.scoring.encoding import load_encoder

    made = read_json(request.out / MARK)
    bundle, uri = _residue_model(str(made["model"]))
    device: Any = request.device
    encoder = load_encoder(bundle, device=device)

    def score(sequence: str) -> dict[str, Any]:
        return score_sequence(
            sequence, bundle, uri, encoder, made["min_precision"], made["features_per_protein"]
        )

    with AtlasServer(request.out, score, port=request.port) as server:
        progress.say(f"serving {request.out} at {server.url} (Ctrl-C stops it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            progress.say("stopped")


def score_sequence(
    sequence: str,
    bundle: Bundle,
    uri: str,
    encoder: Encoder,
    min_precision: float | None,
    n_features: int,
) -> dict[str, Any]:
    """Return the page data of a sequence that was pasted: bare letters, or FASTA with one record.

    Raises
    ------
    InputError
        If it is not one protein.
    """
    from plmsae.atlas.proteins import calls_by_protein, protein_page
    from plmsae.proteins.reading import read_pasted

    protein = read_pasted(sequence)
    latents = encoder.encode([protein.sequence])
    calls = calls_by_protein(_annotate(bundle, uri, min_precision, [protein], latents))
    return protein_page(
        protein.accession,
        protein.description,
        protein.sequence,
        latents[0],
        bundle.features["max_activation"].to_numpy(),
        n_features=n_features,
        annotations=calls.get(protein.accession, ()),
    )
