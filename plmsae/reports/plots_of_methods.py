"""The headline figure: features and concepts found, by method, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from plmsae.reports.canvas import BAR, PALE, canvas_of_axes, need_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORDS = {
    "sae": "SAE latents",
    "neuron": "PLM neurons, both signs",
    "pca": "principal components",
    "ica": "independent components",
    "random_plm_sae": "SAE of a random PLM",
    "sae_shuffled_labels": "SAE, shuffled labels",
    "amino_acid": "amino-acid identity",
    "window_of_3": "windows of 3 residues",
    "best_hit": "labels of the best hit",
    "nearest_embedding": "labels of the nearest embedding",
}
"""Methods as a figure names them; others go by their own name."""


def plot_methods(table: pl.DataFrame, path: Path) -> Path:
    """Draw the features and the concepts that each method finds.

    Parameters
    ----------
    table : polars.DataFrame
        The headline table: ``method``, ``n_features``, ``n_concepts``, each number with ``…_low``
        and ``…_high`` (null for no interval). The first row is the one to look at.
    """
    needed = [
        "method",
        *(f"n_{w}{e}" for w in ("features", "concepts") for e in ("", "_low", "_high")),
    ]
    need_rows(table, "methods", *needed)
    names = [WORDS.get(name, name) for name in table["method"]]
    with canvas_of_axes(path, width=8.4, height=1.1 + 0.36 * table.height, columns=2) as (
        left,
        right,
    ):
        _bars(left, table, "n_features")
        _bars(right, table, "n_concepts")
        left.set_yticks(range(len(names)), names)
        left.invert_yaxis()  # shared: the first method stands on top in both
        left.set_xlabel("features")
        right.set_xlabel("concepts")
        left.set_title(
            "F1 > 0.5 on proteins that had no say in the choice", loc="left", fontsize=10
        )
    return path


def _bars(axes: Axes, table: pl.DataFrame, column: str) -> None:
    from matplotlib.ticker import MaxNLocator

    count = table[column].to_numpy()
    places = np.arange(len(count))
    colours = [BAR] + [PALE] * (len(count) - 1)
    axes.barh(places, count, height=0.62, color=colours)
    low, high = table[f"{column}_low"].to_numpy(), table[f"{column}_high"].to_numpy()
    known = np.isfinite(low.astype(float)) & np.isfinite(high.astype(float))
    style: dict[str, Any] = {"fmt": "none", "ecolor": "#333b44", "elinewidth": 1, "capsize": 2.5}
    gap = np.stack([count - low, high - count])[:, known].astype(float)
    axes.errorbar(count[known], places[known], xerr=gap, **style)
    ends = np.where(known, np.nan_to_num(high.astype(float)), count)
    widest = max(float(ends.max()), 1.0)
    for place, value, end in zip(places.tolist(), count, ends, strict=True):
        axes.text(end + widest * 0.025, place, f"{value:,}", va="center", fontsize=8.5)
    axes.set_xlim(0, widest * 1.16)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_color("#8b97a3")
