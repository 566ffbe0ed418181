"""Which predictions need which latent: each set to 0 wherever it is active, beside controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.encode import Encoder
from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.steering.dose_response import kl_nats
from plmsae.steering.feature import Feature, open_feature
from plmsae.steering.prompt import Prompt


def ablate(
    encoder: Encoder,
    features: pl.DataFrame,
    prompt: Prompt,
    *,
    latents: Sequence[int] = (),
    n_latents: int = 20,
    n_controls: int = 5,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> pl.DataFrame:
    """Set latents to 0, one at a time, and measure what that does to every prediction.

    Parameters
    ----------
    features : polars.DataFrame
        The bundle's ``features.parquet``.
    latents : sequence of int
        These; if empty, those of all active latents without which the predictions of the residues
        of the sequence change most (the largest KL divergence at any residue).
    n_latents : int
        How many of them.
    n_controls : int
        Matched latents, and random directions, for each.
    on_progress : callable
        Called with the latents done and all latents.

    Returns
    -------
    polars.DataFrame
        A row for each latent and residue: ``latent``; ``position`` (1-based), ``residue``,
        ``masked``; ``activation``, there, as a share of the latent's maximum; ``kl`` (nats, from
        the predictions with the latent); ``delta_log_p`` (nats), how the log probability of the
        residue of the sequence changes, null where it is none of the 20; the same under the
        controls, ``kl_control`` (the largest) and ``delta_log_p_control`` (the lowest); and
        ``needed``: the residue becomes less probable, and more so than under any control.

    Raises
    ------
    NotFoundError
        If a latent is dead or does not exist.
    InputError
        If no latent is active.
    """
    before_LA = prompt.log_probabilities([prompt.x_LD])[0]
    if not latents:
        latents = _strongest(encoder, features, prompt, before_LA, n_latents)
        if not latents:
            raise InputError("no live latent is active in this sequence", where="--sequence")
    parts = []
    for number, latent in enumerate(latents):
        on_progress(number, len(latents))
        feature = open_feature(encoder, features, latent, n_controls=n_controls, seed=seed)
        parts.append(_one(feature, prompt, before_LA))
    on_progress(len(latents), len(latents))
    return pl.concat(parts)


def _strongest(
    encoder: Encoder, features: pl.DataFrame, prompt: Prompt, before_LA: Tensor, n: int
) -> list[int]:
    """Return the latents whose absence changes some prediction most, the strongest first."""
    alive = features.filter(~pl.col("dead"))["latent"].to_numpy()
    code = encoder.sae.encode(prompt.x_LD)
    active = np.intersect1d(code.indices[code.values > 0].cpu().numpy(), alive)
    highest = []
    for first in range(0, len(active), 64):
        versions = [
            prompt.x_LD + _without(encoder, features, prompt, int(latent))
            for latent in active[first : first + 64]
        ]
        highest.append(kl_nats(before_LA, prompt.log_probabilities(versions)).amax(1))
    if not highest:
        return []
    order = torch.cat(highest).argsort(descending=True, stable=True)
    return [int(active[i]) for i in order[:n]]


def _without(encoder: Encoder, features: pl.DataFrame, prompt: Prompt, latent: int) -> Tensor:
    feature = open_feature(encoder, features, latent, n_controls=0)
    return feature.change(prompt, 0.0, range(1, len(prompt.sequence) + 1))


def _one(feature: Feature, prompt: Prompt, before_LA: Tensor) -> pl.DataFrame:
    change_LD = feature.change(prompt, 0.0, range(1, len(prompt.sequence) + 1))
    after_WLA = prompt.log_probabilities(feature.versions(prompt, change_LD))
    kl_WL = kl_nats(before_LA, after_WLA).numpy()
    own_L = np.array([AMINO_ACIDS.find(letter) for letter in prompt.sequence])
    rows = np.arange(len(own_L))
    delta_WL = (after_WLA - before_LA)[:, rows, own_L].numpy()
    delta_WL = np.where(own_L >= 0, delta_WL, np.nan)
    others = slice(1, None) if len(kl_WL) > 1 else slice(0, 0)
    zero_L = np.zeros((1, len(own_L)))
    frame = pl.DataFrame(
        {
            "latent": np.full(len(own_L), feature.latent, dtype=np.int32),
            "position": rows + 1,
            "residue": list(prompt.sequence),
            "masked": prompt.masked_L,
            "activation": feature.activations(prompt).cpu().numpy(),
            "kl": kl_WL[0],
            "delta_log_p": delta_WL[0],
            # Doing nothing is a control, too.
            "kl_control": np.concatenate([zero_L, kl_WL[others]]).max(axis=0),
            "delta_log_p_control": np.concatenate([zero_L, delta_WL[others]]).min(axis=0),
        }
    )
    floats = ("delta_log_p", "delta_log_p_control")
    return frame.with_columns(pl.col(name).fill_nan(None) for name in floats).with_columns(
        needed=(pl.col("delta_log_p") < pl.col("delta_log_p_control")).fill_null(False)
    )
