"""The same probe on raw activations: what a few neurons can do where a few latents do this.

Only a row for comparison: nothing is called by neurons. Best latent, probe over latents and probe
over neurons (both signs, centred) are fitted on the same residues of the same concepts. They are
judged over the residues of report: by average precision, and by F1 at the threshold that was best
for each on the fold that chose the penalties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from plmsae.concepts.association.evidence import Split
from plmsae.concepts.association.pairs import count_by_group, gather_pairs
from plmsae.concepts.association.ranking import rank_pairs
from plmsae.concepts.baselines.control_latents import signed_units
from plmsae.concepts.calling.caller_selection import as_latents, fit_probes, take
from plmsae.concepts.calling.probes import Probe
from plmsae.concepts.latents import Float32, Int64, max_activations

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
    max_concepts: int = MAX_CONCEPTS,
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
        Concept ids to compare; at most the first `max_concepts` are.

    Returns
    -------
    polars.DataFrame
        ``concept``; ``latent_ap``, ``probe_ap``, ``raw_probe_ap`` and the same with ``_f1`` (null
        where no probe was found); ``probe_size`` and ``raw_probe_size``, the number of latents and
        of units that the probes read.
    """
    ids = list(only)[:max_concepts]
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
    latent = concepts["best_latent"].fill_null(-1).to_numpy()
    best = {c: int(latent[c]) for c in ids if latent[c] >= 0}
    frame = frame.with_columns(_judge("latent", best, ids, cut["tune"], cut["report"], scale_F))
    for name, latents, scale in (
        ("probe", {n: list(cut[n].latents) for n in _ROWS}, scale_F),
        ("raw_probe", raw, raw_scale),
    ):
        sides = {n: replace(cut[n], latents=latents[n]) for n in _ROWS}
        probes = fit_probes(
            sides["fit"], sides["tune"], None, scale, max_candidates=64, max_rows=2_000,
            seed=seed, only=ids,
        )  # fmt: skip
        frame = frame.with_columns(
            *_judge_probes(name, probes, ids, sides["tune"], sides["report"], scale),
            pl.Series(
                f"{name}_size", [len(probes[c].latents) if c in probes else None for c in ids],
                dtype=pl.Int64,
            ),
        )  # fmt: skip
    return frame


def _judge_probes(
    name: str,
    probes: dict[int, Probe],
    ids: Sequence[int],
    tune: Split,
    report: Split,
    scale: Float32,
) -> list[pl.Series]:
    made = sorted(probes)
    if made:
        fitted = [probes[c] for c in made]
        tune, report = (
            replace(side, latents=as_latents(side.latents, fitted, scale))
            for side in (tune, report)
        )
    place = {c: at for at, c in enumerate(made)}
    return _judge(name, place, ids, tune, report, np.ones(len(made), dtype=np.float32))


def _judge(
    name: str,
    latent_of: dict[int, int],
    ids: Sequence[int],
    tune: Split,
    report: Split,
    scale: Float32,
) -> list[pl.Series]:
    """Return average precision and F1 of each concept's latent over the residues of report."""
    some = [c for c in ids if c in latent_of]
    found: dict[str, dict[int, float]] = {"ap": {}, "f1": {}}
    if some:
        latent = [latent_of[c] for c in some]
        fitted = rank_pairs(gather_pairs(tune.latents, tune.labels, some, latent, scale))
        pairs = gather_pairs(report.latents, report.labels, some, latent, scale)
        one_group = np.zeros(len(report.latents), dtype=np.int64)
        values = {
            "ap": rank_pairs(pairs).average_precision_Q,
            "f1": count_by_group(pairs, fitted.threshold_Q, one_group).f1(),
        }
        found = {key: dict(zip(some, v.tolist(), strict=True)) for key, v in values.items()}
    return [
        pl.Series(f"{name}_{key}", [by.get(c) for c in ids], dtype=pl.Float64).fill_nan(None)
        for key, by in found.items()
    ]


def _first(split: Split, n_rows: int) -> Int64:
    """Return the indices of the first proteins, up to `n_rows` residues, one at least."""
    fits = int(np.searchsorted(split.labels.offsets_P1, n_rows, side="right")) - 1
    return np.arange(max(min(fits, len(split.latents)), 1))
