"""An SAE of an untrained PLM, trained and run as the real one was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from plmsae.workflows.evaluating.activation_store import encode_with_states, encoded_parts
from plmsae.workflows.evaluating.annotated import Annotated
from plmsae.workflows.shared.progress import Progress
from plmsae.workflows.shared.requests import EvaluateRequest

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from plmsae.encode import Encoder
    from plmsae.sae.config import SaeConfig, TrainConfig

#: Optimiser steps that a short run is divided into; few vectors make small batches.
_STEPS = 400


def random_encoder(
    request: EvaluateRequest, data: Annotated, encoder: Encoder, l0: float, progress: Progress
) -> tuple[Encoder, str]:
    """Train an SAE of the same configuration on a randomly initialised PLM of the same shape.

    It learns from the select proteins, so that the report proteins are new to it too.

    Parameters
    ----------
    request : EvaluateRequest
        `random_vectors` and `seed`.
    l0 : float
        Active latents per residue of the real SAE, for an SAE that fixes no number itself.

    Returns
    -------
    encoder : Encoder
    note : str
        On how much it was trained, and how well it reconstructs.
    """
    from plmsae.encode import Encoder
    from plmsae.plm.untrained import untrained_plm
    from plmsae.sae.data import shuffled_batches
    from plmsae.sae.train import train
    from plmsae.workflows.training.activations import activation_stream

    plm = untrained_plm(encoder.plm, layer=encoder.layer, seed=request.seed)
    proteins = [data.sequences[i] for i in np.flatnonzero(data.split == "select")]
    config = _config(encoder.sae.config, l0)
    settings = _settings(request, str(plm.device))
    batches = shuffled_batches(
        lambda: (
            x[encoder.layer]
            for x in activation_stream(plm, (encoder.layer,), "residue", proteins, request.seed)
        ),
        settings.batch_size,
        buffer_rows=min(1 << 16, request.random_vectors),
        seed=request.seed,
    )
    with progress.task("training the SAE of a random PLM") as task:
        result = train(
            batches,
            config,
            settings,
            on_metrics=lambda step, _: task.update(step, settings.total_steps),
        )
    note = f"trained on {settings.total_steps * settings.batch_size:,} residues, explained variance"
    note += f" {result.metrics['explained_variance']:.2f}"
    return Encoder(plm, encoder.layer, result.sae.to(plm.device).eval()), note


def _config(config: SaeConfig, l0: float) -> SaeConfig:
    """Return the configuration of the real SAE, made into one that can be trained here."""
    k = config.k or max(1, round(l0))
    if config.is_transcoder:
        # What a transcoder reads is judged, not what it writes: an autoencoder reads the same.
        return dataclasses.replace(
            config, k=k, target="input", d_out=None, apply_b_dec_to_input=None
        )
    return dataclasses.replace(config, k=k)


def _settings(request: EvaluateRequest, device: str) -> TrainConfig:
    from plmsae.sae.config import TrainConfig

    batch_size = min(2048, max(64, request.random_vectors // _STEPS))
    return TrainConfig(
        n_vectors=request.random_vectors, batch_size=batch_size, seed=request.seed, device=device
    )


@contextmanager
def random_latents(
    request: EvaluateRequest, random: Encoder, data: Annotated, progress: Progress
) -> Iterator[Callable[[int], csr_array]]:
    """Encode the proteins of both splits, in parts beside those of the evaluation's own SAE.

    Parameters
    ----------
    request : EvaluateRequest
        `out` and `keep_encoded`.
    random : Encoder
        What :func:`random_encoder` returns: the same in every run, so that parts which a run that
        was stopped has left are found by the next.

    Yields
    ------
    callable
        Gives the latents (length, F) of a protein by its index.
    """
    wanted = np.flatnonzero(np.isin(data.split, ("select", "report")))
    place = {int(index): number for number, index in enumerate(wanted)}
    root = request.out / "encoded" / "random_plm"
    with encoded_parts(root, keep=request.keep_encoded) as parts:
        latents, _ = encode_with_states(
            random,
            [data.sequences[i] for i in wanted],
            progress,
            keep=False,
            parts=parts,
            name="encoding with the random PLM",
        )
        yield lambda index: latents[place[index]]
