"""How often a call is right on held-out proteins, and how sure that is.

**What counts as right** is decided in one place, `calling.matching`. Proteins without any label
take part, and a call on them is wrong. Databases are incomplete, so some of these calls are
discoveries and the precision stated is a lower estimate (positive-unlabelled data: Elkan & Noto,
KDD 2008); the other choice, to leave such proteins out, would state a precision for proteins that
no user has. How held-out proteins are related to those of the choice depends on the split
(`BundleMeta.extra`, key ``split``).

**Families.** Calls on homologous proteins are right or wrong together. With clusters, the interval
is Wilson's with Kish's effective sample size, (Σ n_k)² / Σ n_k² over the calls n_k of each cluster,
in the place of n (Kish, *Survey Sampling*, 1965, §8.2; the Wilson interval with an effective size
does well near 0 and 1: Dean & Pagano, J. Surv. Stat. Methodol. 3, 2015). This is the design effect
for calls of one cluster that always agree, the worst case: ten paralogues count as one protein.
The estimate itself stays the share of calls.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.latents import Int64
from plmsae.core.errors import InputError

Float64 = npt.NDArray[np.float64]


def wilson_interval(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[Float64, Float64]:
    """Return Wilson's 95 % score interval of a proportion (Wilson, JASA 22, 1927).

    Parameters
    ----------
    successes, trials : array_like
        Counts; may be fractional (effective) counts.

    Returns
    -------
    low, high : ndarray
        NaN where there is no trial.
    """
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    z = NormalDist().inv_cdf(0.975)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = k / n
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(np.maximum(p * (1 - p), 0) / n + z**2 / (4 * n**2))
    # At p = 0 and p = 1 an end of the interval is exactly 0 or 1; rounding must not say otherwise.
    low = np.where(k == 0, 0 * centre, np.clip(centre - half, 0, 1))
    high = np.where(k == n, 0 * centre + 1, np.clip(centre + half, 0, 1))
    return low, high


def effective_calls(group_K: Int64, cluster_K: Int64, n_groups: int) -> Float64:
    """Return Kish's effective number of calls of each group (concept), shape=(n_groups,)."""
    if not len(group_K):
        return np.zeros(n_groups)
    _, cluster = np.unique(cluster_K, return_inverse=True)
    width = int(cluster.max()) + 1
    pairs, size = np.unique(group_K * width + cluster, return_counts=True)
    group = pairs // width
    total = np.bincount(group, weights=size, minlength=n_groups)
    squares = np.bincount(group, weights=size.astype(np.float64) ** 2, minlength=n_groups)
    return np.divide(total**2, squares, out=np.zeros(n_groups), where=squares > 0)


def call_precision(
    right_K: npt.NDArray[np.bool_],
    concept_K: Int64,
    n_concepts: int,
    cluster_K: Int64 | None = None,
) -> pl.DataFrame:
    """Return the share of right calls of each concept, with its 95 % interval.

    Parameters
    ----------
    right_K : ndarray of bool, shape=(K,)
        Whether each call is right.
    concept_K : ndarray of int, shape=(K,)
        Concept id of each call.
    cluster_K : ndarray of int, optional, shape=(K,)
        Homology cluster of the protein of each call. Without it calls count as independent.

    Returns
    -------
    polars.DataFrame
        C rows: ``call_precision``, ``call_precision_low``, ``call_precision_high`` (null without a
        call), ``n_calls``, and what it is made of: ``true_calls`` and ``false_calls``.
    """
    n_calls = np.bincount(concept_K, minlength=n_concepts)
    n_right = np.bincount(concept_K, weights=right_K, minlength=n_concepts)
    precision = np.divide(n_right, n_calls, out=np.full(n_concepts, np.nan), where=n_calls > 0)
    if cluster_K is None:
        low, high = wilson_interval(n_right, n_calls)
    else:
        size = effective_calls(concept_K, cluster_K, n_concepts)
        # A product p·n of whole p must stay whole, or the ends 0 and 1 would be missed.
        successes = np.where(n_right == n_calls, size, np.nan_to_num(precision) * size)
        low, high = wilson_interval(successes, size)
    return pl.DataFrame(
        {
            "call_precision": precision,
            "call_precision_low": low,
            "call_precision_high": high,
            "n_calls": n_calls.astype(np.int64),
            "true_calls": n_right.astype(np.int64),
            "false_calls": n_calls - n_right.astype(np.int64),
        }
    ).with_columns(pl.col(pl.Float64).fill_nan(None))


def meets(concepts: pl.DataFrame, min_precision: float) -> pl.Series:
    """Return which concepts may be called at a target precision; the others abstain.

    Parameters
    ----------
    concepts : polars.DataFrame
        With the column ``call_precision_low`` and, where an annotator was tuned, ``abstains_at``.
    min_precision : float
        The target, in [0, 1]: :func:`highest_bar` must reach it.

    Returns
    -------
    polars.Series of bool
        False also for concepts whose precision was never measured.
    """
    if not 0 <= min_precision <= 1:
        raise InputError("the precision to reach is a share", value=str(min_precision))
    return (highest_bar(concepts) >= min_precision).fill_null(value=False)


def called(concepts: pl.DataFrame, min_precision: float) -> pl.Series:
    """Return which concepts get calls of their own: those that meet the target, unless implied.

    A class all of whose calls its members make (``implied_at``) is named in the column ``implied``
    of their calls, and none is written under its own name.

    Parameters
    ----------
    concepts : polars.DataFrame
        As `meets` takes it; ``implied_at`` may be absent.
    min_precision : float
        The target, in [0, 1].

    Returns
    -------
    polars.Series of bool
        Never null.
    """
    met = meets(concepts, min_precision)
    if "implied_at" not in concepts.columns:
        return met
    return met & ~(concepts["implied_at"] >= min_precision).fill_null(value=False)


def highest_bar(concepts: pl.DataFrame) -> pl.Series:
    """Return the highest target precision at which each concept may be called.

    It is the *lower bound* of the interval of its precision. A concept for which the annotator
    found nothing that reaches the precision it was tuned for (``abstains_at``) stays below that,
    whatever was measured of its best-F1 pair on report: that pair was not chosen to be precise, and
    to take it because report turned out well would be a choice made on report. It is called only
    where a lower precision is asked for.

    Parameters
    ----------
    concepts : polars.DataFrame
        With the column ``call_precision_low`` and, where an annotator was tuned, ``abstains_at``.

    Returns
    -------
    polars.Series of float
        Null for concepts whose precision was never measured, and those that abstain at 0 already.
    """
    low = concepts["call_precision_low"].cast(pl.Float64).fill_nan(None)
    if "abstains_at" not in concepts.columns:
        return low
    at = concepts["abstains_at"].cast(pl.Float64).to_numpy()  # NaN where it does not abstain
    below = np.nextafter(at, 0)
    found = np.where(at > 0, np.minimum(low.to_numpy(), below), np.where(at == 0, np.nan, low))
    return pl.Series(low.name, found).fill_nan(None)
