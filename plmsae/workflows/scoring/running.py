"""Around a score run: its device and encoder, its progress, its counts as metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from plmsae.bundle.reading import Bundle
from plmsae.core.errors import InputError
from plmsae.core.fingerprint import DataFingerprint
from plmsae.registry.versions import DIGEST_TAG
from plmsae.workflows.shared.progress import Task

if TYPE_CHECKING:
    import polars as pl

    from plmsae.scoring.engine import OnProgress, ScoreProgress
    from plmsae.scoring.manifest import Manifest
    from plmsae.workflows.shared.requests import FillRequest, ScoreRequest


logger = logging.getLogger(__name__)

_LABELLED_AT_MOST = 100_000  # all are in memory, beside a PLM
_SHOWN = 5
_NAMED = 10
_FACTS = (
    ("files of the model", "model_sha256", DIGEST_TAG),
    ("PLM", "plm", "plm"),
    ("PLM revision", "plm_revision", "plm_revision"),
)
"""What is compared, where a manifest has it, and the version's tag that was written for it."""


def encoder_of(bundle: Bundle, request: ScoreRequest | FillRequest) -> Any:
    """Return a function that loads the bundle's encoder as asked for, when it is needed."""
    from plmsae.scoring.encoding import load_encoder
    from plmsae.workflows.shared.encoded_store import with_store

    device: Any = request.device

    return lambda: with_store(
        load_encoder(bundle, device=device, precision=request.precision), request.encoded
    )


def settings_of(request: ScoreRequest | FillRequest) -> dict[str, str]:
    """Return the options that the numbers of a score run depend on."""
    return {"precision": request.precision}


def counts(manifest: Manifest) -> dict[str, float]:
    """Return a manifest's counts as metrics."""
    names = ("n_read", "n_scored", "n_rejected", "n_residues", "n_annotations")
    return {name: float(getattr(manifest, name)) for name in names}


def commonest(n_by_concept: Mapping[str, int], what: str) -> list[tuple[str, str]]:
    """Return the concepts with the most calls or proposals as rows of a run's summary."""
    top = sorted(n_by_concept.items(), key=lambda item: (-item[1], item[0]))
    return [(name, f"{n:,} {what}") for name, n in top[:_SHOWN]]


def nothing_found(n_by_concept: Mapping[str, int]) -> str:
    """Say which concepts a model calls where it found none of them."""
    names = sorted(n_by_concept)
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"none of what this model calls was found here: {', '.join(names[:_NAMED])}{more}"


def scored_data(manifest: Manifest) -> DataFingerprint:
    """Return what a run scored, by its manifest."""
    return DataFingerprint(
        source="standard input" if manifest.input == "-" else manifest.input,
        sha256=manifest.input_sha256,
        n_proteins=manifest.n_scored,
        n_residues=manifest.n_residues,
    )


def progress_callback(task: Task) -> OnProgress:
    """Return a callback that shows residues done, proteins per second and what is left."""
    started = time.monotonic()

    def show(state: ScoreProgress) -> None:
        elapsed = max(time.monotonic() - started, 1e-6)
        fresh = state.residues - state.reused_residues
        share = fresh / max(state.residues, 1)
        rate = state.proteins * share / elapsed
        speed = "kept from an earlier run"
        if fresh:
            speed = f"{rate:,.0f} proteins/s" if rate >= 10 else f"{rate:.2g} proteins/s"
        note = f"{speed}  {state.annotations:,} annotations"
        task.update(state.residues, state.total_residues, note)

    return show


def own_labels(source: str, bundle: Bundle, n_records: int) -> pl.DataFrame | None:
    """Return the labels that a scored table carries itself, for the gate to compare calls with.

    None for FASTA, a pipe, a table without feature columns or with more than `_LABELLED_AT_MOST`
    records, and a model of whole proteins. A table whose features cannot be read is told and left:
    it was scored all the same.
    """
    from plmsae.concepts.labels.label_table import labels_from_uniprot
    from plmsae.proteins.stream import is_stream
    from plmsae.proteins.uniprot import feature_columns, read_table
    from plmsae.workflows.shared.inputs import has_sequences

    if bundle.meta.unit != "residue" or is_stream(source) or n_records > _LABELLED_AT_MOST:
        return None
    if not has_sequences(source):
        return None
    try:
        table = read_table(source)
        return labels_from_uniprot(table) if feature_columns(table) else None
    except InputError as error:
        logger.warning("the labels of the input are not compared with the calls: %s", error)
        return None


def run_facts(manifest: Manifest, uri: str, recorded: Mapping[str, str] | None) -> pl.DataFrame:
    """Return what a run says of its model beside what is registered, for the quality gates.

    Parameters
    ----------
    manifest : Manifest
        Of the run.
    uri : str
        The model, as `plmsae.registry.models.resolve_exactly` names it.
    recorded : mapping or None
        Tags of the version, as they were written when it was registered. None for a model that is
        in no registry: its files were read once, and there is nothing to compare them with.

    Returns
    -------
    polars.DataFrame
        ``fact``, ``used``, ``registered``.
    """
    import polars as pl

    facts: list[tuple[str, str, str | None]] = [("model", manifest.model_uri, uri)]
    if recorded is not None:
        facts += [
            (fact, str(manifest.identity[field]), recorded.get(tag)) for fact, field, tag in _FACTS
        ]
    return pl.DataFrame(facts, schema=["fact", "used", "registered"], orient="row")
