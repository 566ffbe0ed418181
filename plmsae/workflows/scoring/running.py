"""Around a score run: its device and encoder, its progress, its counts as metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from plmsae.bundle.reading import Bundle
from plmsae.core.fingerprint import DataFingerprint
from plmsae.workflows.shared.progress import Task

if TYPE_CHECKING:
    import polars as pl

    from plmsae.scoring.engine import OnProgress, ScoreProgress
    from plmsae.scoring.manifest import Manifest
    from plmsae.workflows.shared.requests import FillRequest, ScoreRequest


_SHOWN = 5


def check_device(device: str) -> None:
    """Refuse a device that is not there, before the input is read."""
    if device != "auto":
        from plmsae.plm.device import choose_device

        choose_device(device)


def encoder_of(bundle: Bundle, request: ScoreRequest | FillRequest) -> Any:
    """Return a function that loads the bundle's encoder as asked for, when it is needed."""
    from plmsae.scoring.encoding import load_encoder
    from plmsae.workflows.shared.encoded_store import with_store

    device: Any = request.device

    return lambda: with_store(
        load_encoder(bundle, device=device, precision=request.precision), request.encoded
    )


def counts(manifest: Manifest) -> dict[str, float]:
    """Return a manifest's counts as metrics."""
    names = ("n_read", "n_scored", "n_rejected", "n_residues", "n_annotations")
    return {name: float(getattr(manifest, name)) for name in names}


def commonest(n_by_concept: Mapping[str, int], what: str) -> list[tuple[str, str]]:
    """Return the concepts with the most calls or proposals as rows of a run's summary."""
    top = sorted(n_by_concept.items(), key=lambda item: (-item[1], item[0]))
    return [(name, f"{n:,} {what}") for name, n in top[:_SHOWN]]


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
        speed = f"{rate:,.0f} proteins/s" if fresh else "kept from an earlier run"
        note = f"{speed}  {state.annotations:,} annotations"
        task.update(state.residues, state.total_residues, note)

    return show


def run_facts(manifest: Manifest, bundle: Bundle, uri: str) -> pl.DataFrame:
    """Return what a run says of its model beside what is registered, for the quality gates.

    Returns
    -------
    polars.DataFrame
        ``fact``, ``used``, ``registered``.
    """
    import polars as pl

    used = manifest.identity
    facts = [
        ("model", manifest.model_uri, uri),
        ("files of the model", str(used["model_sha256"]), bundle.digest),
        ("PLM", str(used["plm"]), bundle.meta.plm),
        ("PLM revision", str(used["plm_revision"]), bundle.meta.plm_revision),
    ]
    return pl.DataFrame(facts, schema=["fact", "used", "registered"], orient="row")
