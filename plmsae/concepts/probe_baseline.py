"""The same probe on raw activations: what a few neurons can do where a few latents do this.

Only a row for comparison: nothing is called by neurons. Best latent, probe over latents and probe
over neurons (both signs, centred) are fitted on the same residues of the same concepts, and ranked
by average precision over the residues of report.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.baselines import signed_units
from plmsae.concepts.choosing import as_latents, fit_probes, take
from plmsae.concepts.evidence import Split
from plmsae.concepts.latents import Float32, Int64, max_activations
from plmsae.concepts.pairs import gather_pairs
from plmsae.concepts.probes import Probe
from plmsae.concepts.ranking import rank_pairs

MAX_CONCEPTS = 12
_ROWS = {"fit": 80_000, "tune": 40_000, "report": 60_000}
_ENTRIES = 30_000_000
"""Raw activations are dense: wide PLMs get fewer rows."""


def compare_probes(
    folds: dict[str, Split],
    states: dict[str, Sequence[npt.NDArray[np.floating]]],
    scale_F: Float32,
    concepts: pl.DataFrame,
    only: Sequence[int],
    *,
    max_latents: int = 32,
    max_candidates: int = 64,
    seed: int = 0,
) -> pl.DataFrame:
    """Rank latents, probes and raw probes on the same proteins.

    Parameters
    ----------
    folds : dict of str to Split
        ``fit``, ``tune`` (of select) and ``report``.
    states : dict of str to sequence of ndarray, shape=(length, D)
        Raw activations of the same proteins.
    scale_F : ndarray, shape=(F,)
        The scale of each latent.
    concepts : polars.DataFrame
        ``Evaluation.concepts``, in the order of the labels: the best single latents.
    only : sequence of int
        Concept ids to compare; at most the first `MAX_CONCEPTS` are.

    Returns
    -------
    polars.DataFrame
        ``concept``, ``latent_ap``, ``probe_ap``, ``raw_probe_ap`` (null where no probe was found)
        and the number of latents and of units that the probes read.
    """
    ids = list(only)[:MAX_CONCEPTS]
    width = max((np.asarray(x).shape[1] for x in states["fit"][:1]), default=1)
    most = {name: min(n, _ENTRIES // width) for name, n in _ROWS.items()}
    index = {name: _first(folds[name], n) for name, n in most.items()}
    cut = {name: take(folds[name], index[name]) for name in _ROWS}
    fit_states = [states["fit"][int(i)] for i in index["fit"]]
    centre_D: Float32 = (
        np.concatenate([np.asarray(x, dtype=np.float32) for x in fit_states]).mean(0)
        if fit_states
        else np.zeros(0, dtype=np.float32)
    )
    raw = {
        name: [
            signed_units(np.asarray(states[name][int(i)], dtype=np.float32), centre_D)
            for i in index[name]
        ]
        for name in _ROWS
    }
    raw_scale = max_activations(raw["fit"], 2 * len(centre_D))
    columns = {"concept": [concepts["concept"][c] for c in ids]}
    frame = pl.DataFrame(columns)
    latent = concepts["latent"].fill_null(-1).to_numpy()
    frame = frame.with_columns(
        _ap("latent_ap", {c: int(latent[c]) for c in ids if latent[c] >= 0}, ids,
            cut["report"].latents, cut["report"], scale_F)
    )  # fmt: skip
    for name, latents, scale in (
        ("probe", {n: list(cut[n].latents) for n in _ROWS}, scale_F),
        ("raw_probe", raw, raw_scale),
    ):
        sides = [
            Split(latents=latents[n], labels=cut[n].labels, clusters=cut[n].clusters)
            for n in ("fit", "tune")
        ]
        probes = fit_probes(
            sides[0], sides[1], None, scale, max_latents=max_latents,
            max_candidates=max_candidates, max_rows=2_000, seed=seed, only=ids,
        )  # fmt: skip
        frame = frame.with_columns(
            _probe_ap(f"{name}_ap", probes, ids, latents["report"], cut["report"], scale),
            pl.Series(
                f"{name}_size", [len(probes[c].latents) if c in probes else None for c in ids],
                dtype=pl.Int64,
            ),
        )  # fmt: skip
    return frame


def _probe_ap(
    name: str,
    probes: dict[int, Probe],
    ids: Sequence[int],
    latents: Sequence[csr_array],
    report: Split,
    scale: Float32,
) -> pl.Series:
    made = sorted(probes)
    fires = as_latents(latents, [probes[c] for c in made], scale) if made else []
    place = {c: at for at, c in enumerate(made)}
    return _ap(name, place, ids, fires, report, np.ones(len(made), dtype=np.float32))


def _ap(
    name: str,
    latent_of: dict[int, int],
    ids: Sequence[int],
    latents: Sequence[csr_array],
    report: Split,
    scale: Float32,
) -> pl.Series:
    """Return the average precision of each concept's latent over the residues of report."""
    some = [c for c in ids if c in latent_of]
    found = {}
    if some:
        pairs = gather_pairs(latents, report.labels, some, [latent_of[c] for c in some], scale)
        values = rank_pairs(pairs).average_precision_Q
        found = dict(zip(some, values.tolist(), strict=True))
    return pl.Series(name, [found.get(c) for c in ids], dtype=pl.Float64).fill_nan(None)


def _first(split: Split, n_rows: int) -> Int64:
    """Return the indices of the first proteins, up to `n_rows` residues, one at least."""
    fits = int(np.searchsorted(split.labels.offsets_P1, n_rows, side="right")) - 1
    return np.arange(max(min(fits, len(split.latents)), 1))
