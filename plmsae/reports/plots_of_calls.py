"""Figures of the precision that calls state and of the precision found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from plmsae.reports.canvas import BAR, MARK, bare_axes, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_QUIET = "#8b97a3"
_TITLES = {"random": "labels hidden one by one", "cluster": "labels hidden by family"}


def plot_backtest(table: pl.DataFrame, path: Path) -> Path:
    """Draw promised against found precision of proposals, a panel for each way of hiding.

    Parameters
    ----------
    table : polars.DataFrame
        As `plmsae.scoring.backtest.backtest` returns it: ``hiding``, ``hidden``, ``recovered``,
        ``proposed``, ``promised``, ``precision``, ``precision_low``, ``precision_high``.
    """
    ways = [way for way in _TITLES if way in table["hiding"]]
    with canvas(path, size=(4.4 * max(len(ways), 1), 4.8)) as figure:
        for number, way in enumerate(ways, 1):
            axes = bare_axes(figure, 1, len(ways), number)
            _precision_panel(axes, table.filter(pl.col("hiding") == way))
            axes.set_title(_TITLES[way], loc="left")
    return path


def _precision_panel(axes: Axes, rows: pl.DataFrame) -> None:
    made = rows.filter(pl.col("proposed") > 0).drop_nulls("promised")
    axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=1, linestyle="--")
    x, y = made["promised"].to_numpy(), made["precision"].to_numpy()
    low, high = made["precision_low"].to_numpy(), made["precision_high"].to_numpy()
    size = 10 + 14 * np.log10(np.maximum(made["proposed"].to_numpy(), 1))
    axes.vlines(x, low, high, color=BAR, alpha=0.3, linewidth=1)
    axes.scatter(x, y, s=size, color=BAR, alpha=0.8, linewidth=0, zorder=3)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("promised precision")
    axes.set_ylabel("precision found, 95 % interval")
    hidden, back = int(rows["hidden"].sum()), int(rows["recovered"].sum())
    words = f"{back:,} of {hidden:,} hidden labels came back\n"
    words += f"{int(rows['proposed'].sum()):,} proposals of {made.height:,} concepts"
    axes.text(0.03, 0.97, words, transform=axes.transAxes, va="top", fontsize=8, color="#44505c")


def plot_reliability(curve: pl.DataFrame, path: Path) -> Path:
    """Draw how often calls of each probability are right, and how many there are of each.

    Parameters
    ----------
    curve : polars.DataFrame
        One row per bin: ``bin_low``, ``bin_high``, ``n``, ``mean_probability``, ``frequency``, and
        ``low``, ``high``, the ends of the interval of the frequency.
    """
    x, y = curve["mean_probability"].to_numpy(), curve["frequency"].to_numpy()
    n = curve["n"].to_numpy()
    ece = float((np.abs(x - y) * n).sum() / max(n.sum(), 1))
    with canvas(path, size=(4.8, 5.8)) as figure:
        grid = figure.add_gridspec(2, 1, height_ratios=(4, 1))
        axes = bare_axes(figure, grid[0])
        axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=1, linestyle="--", label="what is said")
        # The gap that the ECE adds up, bin by bin.
        axes.vlines(x, np.minimum(x, y), np.maximum(x, y), color=MARK, alpha=0.35, linewidth=5)
        errors = [np.maximum(y - curve["low"].to_numpy(), 0), curve["high"].to_numpy() - y]
        axes.errorbar(
            x, y, yerr=np.maximum(errors, 0), color=BAR, marker="o", markersize=5, linewidth=1.5,
            elinewidth=1, capsize=2, label="what is found, 95 % interval",
        )  # fmt: skip
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.tick_params(labelbottom=False)
        axes.set_ylabel("share of calls that are right")
        axes.set_title(f"Calibration of {int(n.sum()):,} calls, ECE {ece:.3f}", loc="left")
        axes.legend(frameon=False, loc="upper left", fontsize=8)
        below = bare_axes(figure, grid[1], sharex=axes)
        low, high = curve["bin_low"].to_numpy(), curve["bin_high"].to_numpy()
        below.bar(low, n, width=(high - low) * 0.92, align="edge", color=BAR, alpha=0.6)
        below.set_ylabel("calls")
        below.set_xlabel("calibrated probability of a call")
    return path
