"""Writing a bundle: tables, SAE, callers and model card, whole or not at all."""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from plmsae.bundle.card import model_card
from plmsae.bundle.meta import BundleMeta
from plmsae.bundle.reading import (
    CALLERS_FILE,
    CARD_FILE,
    CONCEPTS_FILE,
    CONFIG_FILE,
    FEATURES_FILE,
    MODEL_FILE,
    NEEDED_FILES,
    SCHEMA_VERSION,
    WEIGHTS_FILE,
    Bundle,
    read_bundle,
)
from plmsae.bundle.schema import CONCEPTS_SCHEMA, FEATURES_SCHEMA, conform
from plmsae.core.atomic import atomic_folder, write_json
from plmsae.core.errors import InputError
from plmsae.core.fingerprint import fingerprint_file

if TYPE_CHECKING:
    import polars as pl

    from plmsae.concepts.calling.callers import Callers

_LOG = logging.getLogger(__name__)


def write_bundle(
    folder: Path,
    *,
    sae_folder: Path,
    meta: BundleMeta,
    features: pl.DataFrame,
    concepts: pl.DataFrame,
    callers: Callers | None = None,
    reference: str | None = None,
) -> Bundle:
    """Write a bundle; it appears whole or not at all.

    Parameters
    ----------
    folder : Path
        Where to; an older bundle there is replaced, any other folder with content is left alone.
    sae_folder : Path
        Holds ``cfg.json`` and ``sae_weights.safetensors``; only these two are copied.
    meta : BundleMeta
        Metrics that are NaN or infinite are left out with a warning: they are not measurements.
    features : DataFrame
        One row per latent, any order, the columns of `schema.FEATURES_SCHEMA`; more
        columns are kept. Number types are converted where that loses nothing.
    concepts : DataFrame
        Likewise for `schema.CONCEPTS_SCHEMA`.
    callers : Callers, optional
        Probes, segment decoders and calibrators, written as JSON if there are any.
    reference : str, optional
        What the commands of the card call the model; see `model_card`.

    Returns
    -------
    Bundle
        The bundle as read back.

    Raises
    ------
    InputError
        If a frame or the SAE folder does not fit `meta`.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / MODEL_FILE).is_file() and any(folder.iterdir()):
        raise InputError("the folder holds something else than a bundle", where=folder)
    meta = _without_non_finite(meta)
    features = conform(features, FEATURES_SCHEMA, d_sae=meta.d_sae, where=FEATURES_FILE)
    concepts = conform(concepts, CONCEPTS_SCHEMA, d_sae=meta.d_sae, where=CONCEPTS_FILE)
    with atomic_folder(folder) as target:
        (target / "sae").mkdir()
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            source = Path(sae_folder) / Path(name).name
            if not source.is_file():
                raise InputError("not an SAE folder: file is missing", where=source)
            shutil.copyfile(source, target / name)
        features.write_parquet(target / FEATURES_FILE)
        concepts.write_parquet(target / CONCEPTS_FILE)
        written = list(NEEDED_FILES)
        if callers:
            write_json(target / CALLERS_FILE, callers.to_json())
            written.append(CALLERS_FILE)
        draft = Bundle(path=target, meta=meta, digest="")
        (target / CARD_FILE).write_text(model_card(draft, reference), encoding="utf-8")
        files = {name: fingerprint_file(target / name) for name in written}
        body = {"schema_version": SCHEMA_VERSION, "files": files, **meta.to_json()}
        write_json(target / MODEL_FILE, body)
        # Nothing that would be refused later gets out of here.
        checked = read_bundle(target)
        _check_callers(checked)
    return read_bundle(folder)


def _check_callers(bundle: Bundle) -> None:
    from plmsae.concepts.calling.callers import missing_probes, missing_segments

    lost = missing_probes(bundle.concepts, bundle.callers)
    if lost:
        raise InputError(
            "is called by a probe that is not there", where=CONCEPTS_FILE, record=lost[0]
        )
    if lost := missing_segments(bundle.concepts, bundle.callers):
        raise InputError(
            "is called by a segment decoder that is not there", where=CONCEPTS_FILE, record=lost[0]
        )


def _without_non_finite(meta: BundleMeta) -> BundleMeta:
    finite = {name: float(value) for name, value in meta.metrics.items() if math.isfinite(value)}
    for name in sorted(set(meta.metrics) - set(finite)):
        _LOG.warning("metric %s is %s and is left out of the bundle", name, meta.metrics[name])
    return dataclasses.replace(meta, metrics=finite)
