"""Reading a foreign SAE: find its file, recognise its layout, make it one of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plmsae.core.errors import InputError
from plmsae.core.fingerprint import fingerprint_file
from plmsae.core.plugins import Plugins
from plmsae.sae.base import Sae
from plmsae.sae.choices import ScaleConvention
from plmsae.sae.config import Arch
from plmsae.sae.formats import WEIGHTS_NAME, is_ours
from plmsae.sae.importing.common import ImportedSae, ImportOptions, SaeFormat
from plmsae.sae.importing.opening import SAFETENSORS, TORCH, Weights, inside, open_weights
from plmsae.sae.model import build_sae, load_sae

FORMATS: Plugins[SaeFormat] = Plugins("plmsae.sae.importing.formats", "FORMAT")
"""The layouts that are read, by name."""


def import_sae(
    source: Path | str,
    *,
    format: str = "auto",
    k: int | None = None,
    arch: Arch | None = None,
    layer: int | None = None,
    norm_factor: float | None = None,
    convention: ScaleConvention | None = None,
) -> tuple[Sae, dict[str, Any]]:
    """Read a foreign SAE.

    Parameters
    ----------
    source : Path or str
        A weights file, or a folder as the hub holds it.
    format : str
        ``auto``, or one of `FORMATS`: ``interplm``, ``interprot``, ``hubmixin`` (evillegasgarcia),
        ``esmc`` (Biohub), ``reticular``, ``saelens``, ``sparsify``.
    k : int, optional
        Active latents per vector, where the file does not say (InterProt); of a hierarchical SAE of
        ours, how many of the largest to keep.
    arch : str, optional
        ``relu``, ``topk`` or ``jumprelu``, where the configuration beside the weights is missing.
    layer : int, optional
        Which layer's file, where a folder holds several.
    norm_factor : float, optional
        What the training activations were divided by, where biases have that unit (Reticular) or
        SAELens kept it outside (``expected_average_only_in``).
    convention : {"folded", "buffer", "raw"}, optional
        Where an InterPLM file keeps the scale of its latents, where it is not clear from the file.

    Returns
    -------
    sae : Sae
        It takes raw activations and computes what the original did.
    origin : dict
        JSON-ready: ``format`` (``plmsae`` for one of ours), ``file`` (its name), ``sha256``,
        ``arch``, ``d_in``, ``d_sae``, ``k``, ``input_norm``, ``per_latent`` (lists of d_sae numbers
        the file had of each latent, for example ``max_activation``), and what else the layout says.

    Raises
    ------
    UnsafeArtifactError
        If the file carries code, leads out of its folder, or claims more than it holds.
    InputError
        If it is missing, malformed or of no known layout, or something must be given.
    """
    if format != "auto" and format not in FORMATS:
        raise InputError(
            "unknown SAE format", value=format, hint=f"one of auto, {', '.join(FORMATS)}"
        )
    if norm_factor is not None and not 0 < norm_factor < float("inf"):
        raise InputError("the norm factor must be positive", value=str(norm_factor))
    if Path(source).is_dir() and format in ("auto", "saelens") and is_ours(Path(source)):
        return _ours(Path(source), k)
    options = ImportOptions(
        k=k, arch=arch, layer=layer, norm_factor=norm_factor, convention=convention
    )
    layouts = dict(sorted(FORMATS.items(), key=lambda item: item[1].rank))
    if format != "auto":
        layouts = {format: layouts[format]}
    weights = open_weights(_file(Path(source), list(layouts.values()), options))
    name = next((name for name, layout in layouts.items() if layout.fits(weights)), None)
    if name is None:
        found = ", ".join(sorted(weights.names)[:8])
        raise InputError(
            "its tensors are of no SAE layout known here"
            if format == "auto"
            else f"its tensors are not those of {format}",
            where=weights.path,
            value=found,
        )
    foreign = layouts[name].read(weights, options)
    _check_options(options, foreign, weights.path)
    sae = build_sae(foreign.config)
    sae.take_tensors(foreign.tensors)
    return sae.eval(), _origin(name, weights, foreign)


def _check_options(options: ImportOptions, foreign: ImportedSae, path: Path) -> None:
    """Refuse what was given and would be ignored, so that it is not taken for done."""
    config = foreign.config
    if options.arch is not None and options.arch != config.arch:
        raise InputError(
            f"the file says {config.arch}, not {options.arch}", where=path, hint="leave --arch out"
        )
    if options.k is not None and config.k is None:
        raise InputError(
            f"a {config.arch} SAE keeps no fixed number of latents",
            where="--k",
            value=str(options.k),
            hint="leave it out",
        )


def _ours(folder: Path, k: int | None) -> tuple[Sae, dict[str, Any]]:
    """Load what plmsae stored as what it was, not as SAELens would take it."""
    sae = load_sae(folder)
    if k is not None and k != sae.config.k:
        try:
            sae = sae.at(k)
        except InputError as error:
            raise InputError(error.what, where=folder, value=error.value, hint=error.hint) from None
    weights = open_weights(inside(folder, WEIGHTS_NAME))
    return sae, _origin("plmsae", weights, ImportedSae(config=sae.config, tensors={}))


def _file(source: Path, layouts: list[SaeFormat], options: ImportOptions) -> Path:
    if not source.is_dir():
        return source
    for layout in layouts:
        found: Path | None = layout.find(source, options)
        if found is not None:
            return found
    files = sorted(p.name for p in source.iterdir() if p.suffix in SAFETENSORS + TORCH)
    if len(files) != 1:
        raise InputError(
            "there is no weights file in it" if not files else "it holds several weights files",
            where=source,
            hint="give the file itself",
        )
    return inside(source, files[0])


def _origin(name: str, weights: Weights, foreign: ImportedSae) -> dict[str, Any]:
    config = foreign.config
    notes = json.loads(json.dumps(foreign.notes, default=str))
    return {
        "format": name,
        "file": weights.path.name,
        "sha256": fingerprint_file(weights.path),
        "arch": config.arch,
        "d_in": config.d_in,
        "d_sae": config.d_sae,
        "k": config.k,
        "input_norm": config.input_norm,
        "per_latent": {what: t.tolist() for what, t in foreign.per_latent.items()},
        **notes,
    }
