"""What a change of the same size does that is not the feature's.

An effect of setting a latent may be the feature's, or that of any change so large at those
residues. So the same change is made in other directions of the residual stream: those of random
latents that are as dense and whose decoder rows are as long, and random ones. At each residue the
change has the length, and for latents the sign, of the feature's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from plmsae.core.errors import NotFoundError
from plmsae.sae.base import Sae

#: Control latents are drawn from so many times as many of the nearest in density and norm.
_NEAREST = 5


@dataclass(frozen=True, kw_only=True)
class Control:
    """Another direction of the residual stream.

    Attributes
    ----------
    kind : {"latent", "direction"}
        A matched latent's decoder row, or a random direction.
    number : int
        The latent, or which random direction, from 0.
    unit_D : Tensor, dtype=float32, shape (D,)
        Of length 1.
    """

    kind: Literal["latent", "direction"]
    number: int
    unit_D: Tensor


def decoder_direction(sae: Sae, latent: int) -> Tensor:
    """Return a latent's decoder row at length 1, float32 (D,)."""
    row_D = sae.W_dec_FD[latent].detach().float()
    return torch.nn.functional.normalize(row_D, dim=0)


def latent_scale(features: pl.DataFrame, latent: int) -> float:
    """Return a latent's `max_activation`: what a value of 1 stands for.

    Raises
    ------
    NotFoundError
        If there is no such latent, or it is dead.
    """
    row = features.filter(pl.col("latent") == latent)
    if row.is_empty() or row["dead"][0] or not row["max_activation"][0] > 0:
        raise NotFoundError("dead, or no such latent", where="--latent", value=str(latent))
    return float(row["max_activation"][0])


def make_controls(
    sae: Sae, features: pl.DataFrame, latent: int, n: int, *, seed: int = 0
) -> list[Control]:
    """Draw `n` matched latents and `n` random directions; the same for the same seed.

    Parameters
    ----------
    features : polars.DataFrame
        The bundle's ``features.parquet``: ``latent``, ``density``, ``dead``.
    latent : int
        The feature's.
    n : int
        Of each kind; latents may be fewer where the SAE has fewer.
    """
    rng = np.random.default_rng([seed, latent])
    norm_F = torch.linalg.vector_norm(sae.W_dec_FD.detach().float(), dim=1).cpu().numpy()
    rows = features.filter(~pl.col("dead") & (pl.col("density") > 0) | (pl.col("latent") == latent))
    candidate = rows["latent"].to_numpy()
    log_density = np.log(np.maximum(rows["density"].to_numpy(), 1e-9))
    log_norm = np.log(np.maximum(norm_F[candidate], 1e-9))
    own = candidate == latent
    distance = np.abs(log_density - log_density[own]) + np.abs(log_norm - log_norm[own])
    others = np.argsort(distance[~own], kind="stable")[: _NEAREST * n]
    chosen = np.sort(rng.permutation(candidate[~own][others])[:n])
    controls = [
        Control(kind="latent", number=int(c), unit_D=decoder_direction(sae, int(c))) for c in chosen
    ]
    random = rng.standard_normal((n, sae.config.d_in))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    return controls + [
        Control(kind="direction", number=i, unit_D=torch.from_numpy(row).to(sae.W_dec_FD))
        for i, row in enumerate(random)
    ]


def redirected(change_LD: Tensor, own_D: Tensor, controls: Sequence[Control]) -> list[Tensor]:
    """Turn a feature's change into the direction of each control, at the same length.

    Parameters
    ----------
    change_LD : Tensor, shape (L, D)
        What setting the feature adds at each residue: a multiple of its decoder row.
    own_D : Tensor, shape (D,)
        The direction of that row, of length 1.
    """
    signed_length_L1 = (change_LD @ own_D).unsqueeze(1)
    return [signed_length_L1 * control.unit_D for control in controls]
