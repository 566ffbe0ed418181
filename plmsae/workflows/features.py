"""Look up the proteins and residues of a latent in what `score` has kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.core.atomic import atomic_path
from plmsae.core.errors import InputError
from plmsae.core.resources import READY
from plmsae.workflows.shared.progress import Progress, step
from plmsae.workflows.shared.requests import FeaturesRequest

if TYPE_CHECKING:
    import polars as pl

    from plmsae.bundle.reading import Bundle
    from plmsae.scoring.manifest import Manifest

logger = logging.getLogger(__name__)

_WRITERS = (".parquet", ".tsv")
_PIECES = 4  # stretches of positions that a line of the table shows


@dataclass(frozen=True, kw_only=True)
class FeaturesOutcome:
    """Where latents fire."""

    folder: str
    model_uri: str
    residues: pl.DataFrame
    """accession, position (1-based; null for a protein-level model), latent, activation."""
    proteins: pl.DataFrame
    """latent, accession, maximum, n_residues, positions (list): per latent, the highest first."""
    concepts: Mapping[int, str]
    """What is known of each latent, where the model is at hand."""
    top: int
    """Proteins of each latent that are shown."""
    written: Path | None

    @property
    def latents(self) -> list[int]:
        """Those that were asked for."""
        return sorted(self.concepts)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "folder": self.folder,
            "model": self.model_uri,
            "latents": [
                {
                    "latent": latent,
                    "concept": self.concepts[latent] or None,
                    "n_proteins": found.height,
                    "n_residues": int(found["n_residues"].sum()),
                    "proteins": found.head(self.top).drop("latent").to_dicts(),
                }
                for latent in self.latents
                for found in [self._of(latent)]
            ],
            "written": str(self.written) if self.written else None,
        }

    def lines(self) -> list[str]:
        """Return it in words."""
        lines = []
        for latent in self.latents:
            found = self._of(latent)
            known = self.concepts[latent] or "no known concept"
            lines.append(
                f"latent {latent} ({known}): {found['n_residues'].sum():,} residues of "
                f"{found.height:,} proteins"
            )
            shown = found.head(self.top)
            if shown.height:
                width = max(len("protein"), *(len(name) for name in shown["accession"]))
                lines.append(f"  {'protein':<{width}}  maximum  positions")
            for row in shown.iter_rows(named=True):
                places = stretches(row["positions"])
                more = f", and {len(places) - _PIECES} more" if len(places) > _PIECES else ""
                where = ", ".join(places[:_PIECES]) + more or "whole protein"
                lines.append(f"  {row['accession']:<{width}}  {row['maximum']:7.3g}  {where}")
            if found.height > self.top:
                lines.append(f"  … and {found.height - self.top:,} more proteins; --top shows more")
        if self.written:
            lines.append(f"every residue written to {self.written}")
        return lines

    def _of(self, latent: int) -> pl.DataFrame:
        import polars as pl

        return self.proteins.filter(pl.col("latent") == latent)


def run(request: FeaturesRequest, progress: Progress) -> FeaturesOutcome:
    """Read the latents; see `plmsae.scoring.feature_files.read_latents`.

    Raises
    ------
    InputError
        If the folder is not a complete score run with features, there is no such latent, or an
        argument is out of range.
    """
    import polars as pl

    from plmsae.scoring.feature_files import read_latents
    from plmsae.scoring.folder import ScoreFolder

    if not request.latent:
        raise InputError("name one latent or more", where="--latent")
    out = request.out
    if out is not None and out.suffix not in _WRITERS:
        raise InputError(
            "cannot tell the format", where=out, hint=f"name a file {' or '.join(_WRITERS)}"
        )
    folder = ScoreFolder(request.folder)
    manifest = folder.manifest()
    bundle = _model(request.model, manifest)
    with step(progress, "reading features"):
        table = read_latents(folder, request.latent)
    residues = pl.DataFrame(pl.from_arrow(table)).filter(
        pl.col("activation") >= request.min_activation
    )
    if out is not None:
        with atomic_path(out) as temporary:
            if out.suffix == ".tsv":
                residues.write_csv(temporary, separator="\t")
            else:
                residues.write_parquet(temporary)
    return FeaturesOutcome(
        folder=folder.where,
        model_uri=manifest.model_uri,
        residues=residues,
        proteins=by_protein(residues),
        concepts={latent: _concept(bundle, latent) for latent in request.latent},
        top=request.top,
        written=out,
    )


def by_protein(residues: pl.DataFrame) -> pl.DataFrame:
    """Gather residues by latent and protein, those with the highest activation first.

    Parameters
    ----------
    residues : DataFrame
        accession, position, latent, activation.

    Returns
    -------
    DataFrame
        latent, accession, maximum, n_residues, positions (list of int, rising; empty for a
        protein-level model).
    """
    import polars as pl

    return (
        residues.group_by("latent", "accession")
        .agg(
            maximum=pl.col("activation").max(),
            n_residues=pl.len(),
            positions=pl.col("position").drop_nulls().sort(),
        )
        .sort("latent", "maximum", "accession", descending=[False, True, False])
    )


def stretches(positions: list[int]) -> list[str]:
    """Write rising positions as stretches: ``3-5``, ``9``."""
    found: list[list[int]] = []
    for position in positions:
        if found and position == found[-1][1] + 1:
            found[-1][1] = position
        else:
            found.append([position, position])
    return [str(first) if first == last else f"{first}-{last}" for first, last in found]


def _model(reference: str | None, manifest: Manifest) -> Bundle | None:
    """Return the model that scored, or None where it is not at hand."""
    from plmsae.registry.models import resolve_exactly

    used = manifest.model_uri
    # A folder's name cannot be found again, but it may be the model that ships.
    named = reference or (used if used.startswith("models:/") else READY)
    try:
        bundle, _ = resolve_exactly(named)
    except InputError as error:
        if reference is not None:
            raise
        logger.warning("the concepts of the latents are not known here: %s", error)
        return None
    if bundle.digest != manifest.identity["model_sha256"]:
        if reference is not None:
            raise InputError("is not the model that scored these proteins", where=reference)
        return None
    return bundle


def _concept(bundle: Bundle | None, latent: int) -> str:
    """Say what a latent detects best, with how well; empty where nothing is known."""
    if bundle is None or latent >= bundle.features.height:
        return ""
    row = bundle.features.row(latent, named=True)
    if row["concept"] is None or row["f1"] is None:
        return ""
    return f"{row['concept']}, F1 {row['f1']:.2f}"
