"""P-values of over-representation, and their correction for the number of pairs tried.

433 concepts × 10,240 latents are four million tries; some pairs look good by luck. Two tails are
given, both one-sided (a depleted pair is not a finding):

- :func:`log_hypergeometric_tail`: exact, for counts of independent things (proteins);
- :func:`residue_pair_log_p`: for residues, which are not independent. Chernoff's bound in the
  form of Hoeffding (J. Am. Stat. Assoc. 58, 1963, theorem 1; it holds for sampling without
  replacement, theorem 4), with the number of firing residues divided by the mean length of the
  concept's instances, so that the residues of one domain have one vote together. The bound
  overstates p, the division is a rule of thumb for the dependence; the shuffled labels of
  :mod:`plmsae.concepts.baselines.control_latents` are the check on both.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, xlogy

from plmsae.concepts.association.counts import Counts
from plmsae.concepts.association.selection import f1_blocks

Float64 = npt.NDArray[np.float64]


def benjamini_hochberg(p: npt.ArrayLike, n_tests: int | None = None) -> Float64:
    """Return q-values (Benjamini & Hochberg, J. R. Stat. Soc. B 57, 1995).

    Parameters
    ----------
    p : array_like
        P-values, any shape.
    n_tests : int, optional
        All tests made, if `p` leaves out some whose p-value is 1.
    """
    values = np.asarray(p, dtype=np.float64)
    flat = values.ravel()
    n_tests = flat.size if n_tests is None else n_tests
    order = np.argsort(flat)
    scaled = flat[order] * n_tests / np.arange(1, flat.size + 1)
    q = np.empty_like(flat)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q.reshape(values.shape)


def log_hypergeometric_tail(
    both: npt.ArrayLike, drawn: npt.ArrayLike, marked: npt.ArrayLike, total: npt.ArrayLike
) -> Float64:
    """Return ln P(X ≥ both) when `drawn` of `total` are drawn, of which `marked` are marked.

    Exact to rounding, and finite where the p-value itself underflows. Summed from the observed
    count upwards, all elements at once.
    """
    k, n, m, t = np.broadcast_arrays(
        *(np.asarray(value, dtype=np.float64) for value in (both, drawn, marked, total))
    )
    lowest, highest = np.maximum(0, n + m - t), np.minimum(n, m)
    start = np.clip(k, lowest, highest)
    log_first = log_hypergeometric_point(start, n, m, t)
    total_sum, term, x = np.ones(k.shape), np.ones(k.shape), start.copy()
    going = x < highest
    while going.any():
        # P(X = x + 1) / P(X = x)
        ratio = (m - x) * (n - x) / ((x + 1) * (t - m - n + x + 1))
        term = np.where(going, term * ratio, 0.0)
        total_sum += term
        x += 1
        going = going & (x < highest) & ((term > 1e-17 * total_sum) | (ratio > 1))
    tail = np.minimum(log_first + np.log(total_sum), 0)
    tail = np.where(k <= lowest, 0.0, tail)
    return np.where(k > highest, -np.inf, tail)


def log_hypergeometric_point(
    both: npt.ArrayLike, drawn: npt.ArrayLike, marked: npt.ArrayLike, total: npt.ArrayLike
) -> Float64:
    """Return ln P(X = both), which is at most `log_hypergeometric_tail`, for possible counts."""
    k, n, m, t = (np.asarray(value, dtype=np.float64) for value in (both, drawn, marked, total))
    return _log_choose(m, k) + _log_choose(t - m, n - k) - _log_choose(t, n)


def log_chernoff_tail(
    both: npt.ArrayLike, drawn: npt.ArrayLike, marked: npt.ArrayLike, total: npt.ArrayLike
) -> Float64:
    """Return an upper bound of :func:`log_hypergeometric_tail` in closed form.

    −n·KL(k/n ‖ m/t) where k/n is above m/t, else 0.
    """
    k, n, m, t = (np.asarray(value, dtype=np.float64) for value in (both, drawn, marked, total))
    with np.errstate(divide="ignore", invalid="ignore"):
        found, chance = k / n, m / t
        divergence = xlogy(found, found / chance) + xlogy(1 - found, (1 - found) / (1 - chance))
    over = np.nan_to_num(found, nan=0.0) > np.nan_to_num(chance, nan=1.0)
    return np.where(over, -n * divergence, 0.0)


def residue_pair_log_p(select: Counts, report: Counts) -> Float64:
    """Return ln of the p-value of every (concept, latent) pair, shape=(C, F).

    Each pair takes the threshold that is best for it on `select`; its p-value is of `report`, so
    that the choice of the threshold costs nothing.
    """
    log_p = np.zeros((len(report.concepts), report.n_latents))
    fires_FT = report.fires_FT()
    length_C = np.divide(
        report.n_residues_C,
        report.n_instances_C,
        out=np.ones(len(report.concepts)),
        where=report.n_instances_C > 0,
    )
    latents = np.arange(report.n_latents)
    for block, f1_cft in f1_blocks(select):
        best = f1_cft.argmax(axis=2)
        found = np.take_along_axis(report.true_positives_CFT(block), best[:, :, None], axis=2)
        vote = length_C[block][:, None]
        log_p[block] = log_chernoff_tail(
            found[:, :, 0] / vote,
            fires_FT[latents, best] / vote,
            report.n_residues_C[block][:, None],
            report.n_rows,
        )
    return log_p


def _log_choose(n: Float64, k: Float64) -> Float64:
    chosen: Float64 = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return chosen
