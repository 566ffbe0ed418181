"""The page of a registered version in MLflow's UI: its card, the verdicts of gates, and links.

The UI shows the description of a version as Markdown, and opens addresses of its own (``#/…``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from plmsae.bundle.card import Verdict, version_page, with_page
from plmsae.registry.gates import check_gates, load_gates
from plmsae.registry.quality_record import QUALITY_FAILED, has_failed
from plmsae.registry.versions import ModelRef, find_registered
from plmsae.tracking.store import client, mlflow_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

    from plmsae.bundle.reading import Bundle
    from plmsae.tracking.runs import Run

REPORTS, ATLAS = "Feature reports", "Atlas"
"""Labels of what later commands make of a version."""
ROOM = 5000
"""Characters of a description in MLflow's tables; SQLite keeps longer ones all the same."""


def describe_version(
    store: MlflowClient,
    ref: ModelRef,
    bundle: Bundle,
    run_id: str | None,
    quality: Mapping[str, str],
) -> None:
    """Write the page of a version that was just registered.

    Parameters
    ----------
    store : MlflowClient
    ref : ModelRef
    bundle : Bundle
        Its content.
    run_id : str or None
        The run that made it.
    quality : mapping
        Verdicts of the quality gates, by `plmsae.registry.quality_record.quality_verdicts`.
    """
    reference = str(ref)
    run = None if run_id is None else store.get_run(run_id).info
    of_run = "" if run is None else f"#/experiments/{run.experiment_id}/runs/{run.run_id}"
    # Relative to the champion, only promotion tells.
    gates = tuple(
        gate
        for gate in load_gates()
        if gate.relative_to != "champion" and gate.metric != QUALITY_FAILED
    )
    verdicts = [
        Verdict(
            what=result.expected,
            found=result.found,
            met=None if result.skipped else result.passed,
        )
        for result in check_gates(gates, bundle.meta.metrics, None)
    ]
    verdicts += [
        Verdict(
            what=f"quality of the {kind}",
            found=verdict,
            met=not has_failed(verdict),
            page=f"{of_run}/artifacts/quality/{quote(kind)}/summary.html" if of_run else "",
        )
        for kind, verdict in quality.items()
    ]
    experiment = store.get_logged_model(ref.model_id).experiment_id
    of_model = f"#/experiments/{experiment}/models/{ref.model_id}"
    pages = {"All metrics, and the runs that used it": f"[the logged model]({of_model})"}
    if run is not None:
        pages = {"How it was made": f"[the run]({of_run})", **pages}
        there = {file.path for file in store.list_artifacts(run.run_id)}
        found = [
            f"[{name}]({of_run}/artifacts/{folder})"
            for folder, name in (("figures", "plots"), ("evaluation", "tables"))
            if folder in there
        ]
        if found:
            pages = {"Evaluation": ", ".join(found), **pages}
    pages |= {
        REPORTS: f"none yet; `plmsae report proteome.fasta --model {reference}` links them here",
        ATLAS: f"none yet; `plmsae atlas {reference}` links it here",
    }
    _write(store, ref, version_page(bundle, reference, verdicts=verdicts, pages=pages))


def _write(store: MlflowClient, ref: ModelRef, page: str) -> None:
    """Write the page of a version; where the database has less room, without what does not fit."""
    from mlflow.exceptions import MlflowException

    try:
        store.update_model_version(ref.name, ref.version, page)
    except MlflowException:
        if len(page) <= ROOM:
            raise
        store.update_model_version(ref.name, ref.version, fitted(page))


def fitted(page: str) -> str:
    """Return a page of at most `ROOM` characters: the first sections that fit, and where more is.

    Only whole sections are left out.
    """
    head, *sections = page.split("\n\n## ")
    more = "\n\nWhat does not fit here is in the card, README.md among the model's files.\n"
    kept = head[: ROOM - len(more)]
    for section in sections:
        if len(kept) + len(section) + len("\n\n## ") + len(more) <= ROOM:
            kept += f"\n\n## {section}"
    return kept.rstrip() + more


def link_page(run: Run, uri: str, label: str, text: str, path: str) -> None:
    """Link, on the page of a registered version, something that a later run made of it.

    Parameters
    ----------
    run : Run
        Must be going on.
    uri : str
        ``models:/NAME/VERSION``. For anything else nothing is done.
    label : str
        `REPORTS` or `ATLAS`; what an earlier run made is linked no more.
    text : str
        Of the link.
    path : str
        Of the artifact of the run.
    """
    store = client(run.tracking_uri)
    found = find_registered(store, uri)
    if found is None or found.ref is None:
        return
    ref = found.ref
    address = f"#/experiments/{run.experiment_id}/runs/{run.run_id}/artifacts/{quote(path)}"
    with mlflow_errors(store.tracking_uri):
        page = store.get_model_version(ref.name, ref.version).description or ""
        changed = with_page(page, label, f"[{text}]({address})")
        _write(store, ref, changed)
