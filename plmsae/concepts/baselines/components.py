"""Principal and independent components of activations: what linear algebra finds without an SAE.

There are at most as many components as dimensions, so an SAE's size cannot be matched: both kinds
are taken in full, and each gives two latents, one for each sign.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plmsae.concepts.latents import Float32
from plmsae.core.errors import InputError

Float64 = npt.NDArray[np.float64]

#: Variance of a direction, of the largest, below which there is nothing but rounding.
_RANK = 1e-9
#: Multiplications that fitting ICA may cost, in rows × D²; FastICA stops after so many rounds.
_ICA_WORK = 2e12
_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Components:
    """Directions in activation space, used like an encoder without a bias."""

    mean_D: Float32
    directions_KD: Float32
    note: str = ""
    """How the fit went, where a reader should know."""

    @property
    def n_latents(self) -> int:
        """Two a direction."""
        return 2 * len(self.directions_KD)

    def project(self, x_ND: Float32) -> Float32:
        """Return the projections, signed: float32, shape (N, K)."""
        x = np.asarray(x_ND, dtype=np.float32) - self.mean_D
        projected: Float32 = (x @ self.directions_KD.T).astype(np.float32)
        return projected


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and covariance of activations."""

    n: int
    mean_D: Float64
    covariance_DD: Float64
    """Divided by n."""


def moments(states: Iterable[Float32]) -> Moments:
    """Sum up activations in one pass, in float64.

    Blocks are merged by the update of Chan, Golub & LeVeque (1979), which does not cancel where the
    mean is far above the standard deviation.

    Parameters
    ----------
    states : iterable of ndarray, shape=(n_i, D)

    Raises
    ------
    InputError
        If there is no row.
    """
    n, mean_D, scatter_DD = 0, np.zeros(0), np.zeros((0, 0))
    for block in _blocks(states):
        x = block.astype(np.float64)
        own_mean = x.mean(axis=0)
        x -= own_mean
        own_scatter = x.T @ x
        if not n:
            n, mean_D, scatter_DD = len(x), own_mean, own_scatter
            continue
        step, total = own_mean - mean_D, n + len(x)
        scatter_DD += own_scatter + np.outer(step, step) * (n * len(x) / total)
        mean_D = mean_D + step * (len(x) / total)
        n = total
    if not n:
        raise InputError("there are no activations to fit components to")
    return Moments(n=n, mean_D=mean_D, covariance_DD=scatter_DD / n)


def principal_components(seen: Moments) -> Components:
    """Return all principal components, largest first.

    Directions without variance (in the last layer, after a layer norm, there is one) are left out.

    Raises
    ------
    InputError
        If all activations are equal.
    """
    directions_KD, _ = _principal(seen)
    return Components(
        mean_D=seen.mean_D.astype(np.float32), directions_KD=directions_KD.astype(np.float32)
    )


def independent_components(
    seen: Moments, sample_ND: Float32, *, seed: int = 0, max_iterations: int = 200
) -> Components:
    """Return as many independent components as there are principal ones.

    FastICA (Hyvärinen 1999), symmetric, on activations whitened by the moments. Should it not
    converge, the directions it has reached are returned and `note` says so.

    Parameters
    ----------
    seen : Moments
        Of a large set.
    sample_ND : ndarray, shape=(N, D)
        Some ten thousand rows of it.
    max_iterations : int
        Rounds, at most; fewer where D is so large that a round takes long.
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    principal_KD, variance_K = _principal(seen)
    whitening_KD = principal_KD / np.sqrt(variance_K)[:, None]
    white_NK = ((sample_ND.astype(np.float64) - seen.mean_D) @ whitening_KD.T).astype(np.float32)
    affordable = int(_ICA_WORK // (len(white_NK) * len(variance_K) ** 2))
    rounds = max(10, min(max_iterations, affordable))
    model = FastICA(whiten=False, random_state=seed, max_iter=rounds, tol=1e-3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(white_NK)
    stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    note = f"fitted on {len(white_NK):,} residues"
    if stopped:
        note += f", not converged after {rounds} rounds"
    return Components(
        mean_D=seen.mean_D.astype(np.float32),
        directions_KD=(model.components_ @ whitening_KD).astype(np.float32),
        note=note,
    )


def _principal(seen: Moments) -> tuple[Float64, Float64]:
    """Return directions (K, D) and their variances (K,), largest first."""
    variance_D, vectors_DD = np.linalg.eigh(seen.covariance_DD)
    kept = np.flatnonzero(variance_D > _RANK * max(variance_D[-1], 0))[::-1]
    if not len(kept):
        raise InputError("the activations to fit components to are all equal")
    return vectors_DD[:, kept].T, variance_D[kept]


def _blocks(states: Iterable[Float32]) -> Iterable[Float32]:
    waiting: list[Float32] = []
    rows = 0
    for x_ND in states:
        waiting.append(x_ND)
        rows += len(x_ND)
        if rows >= _ROWS:
            yield np.concatenate(waiting)
            waiting, rows = [], 0
    if rows:
        yield np.concatenate(waiting)
