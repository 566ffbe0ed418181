"""Figures of what calls promise and what they keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from plmsae.reports.canvas import bare_axes, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR, _MARK, _QUIET = "#3d6fb4", "#b3261e", "#8b97a3"
_TITLES = {"random": "labels hidden one by one", "cluster": "labels hidden by family"}


def plot_backtest(table: pl.DataFrame, path: Path) -> Path:
    """Draw promised against found precision of proposals, a panel for each way of hiding.

    Parameters
    ----------
    table : polars.DataFrame
        As `plmsae.scoring.backtest.backtest` returns it: ``hiding``, ``hidden``, ``recovered``,
        ``proposed``, ``promised``, ``precision``, ``precision_low``, ``precision_high``.
    path : Path
        A ``.png`` file.

    Returns
    -------
    Path
        The same path.
    """
    ways = [way for way in _TITLES if way in table["hiding"]]
    with canvas(path, size=(4.4 * max(len(ways), 1), 4.4)) as figure:
        for number, way in enumerate(ways, 1):
            axes = bare_axes(figure, 1, len(ways), number)
            _promise_panel(axes, table.filter(pl.col("hiding") == way))
            axes.set_title(_TITLES[way], loc="left")
    return path


def _promise_panel(axes: Axes, rows: pl.DataFrame) -> None:
    made = rows.filter(pl.col("proposed") > 0).drop_nulls("promised")
    axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=1, linestyle="--")
    x, y = made["promised"].to_numpy(), made["precision"].to_numpy()
    low, high = made["precision_low"].to_numpy(), made["precision_high"].to_numpy()
    size = 10 + 14 * np.log10(np.maximum(made["proposed"].to_numpy(), 1))
    axes.vlines(x, low, high, color=_BAR, alpha=0.3, linewidth=1)
    axes.scatter(x, y, s=size, color=_BAR, alpha=0.8, linewidth=0, zorder=3)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("promised precision")
    axes.set_ylabel("precision found, 95 % interval")
    hidden, recovered = int(rows["recovered"].sum()), int(rows["hidden"].sum())
    words = f"{hidden:,} of {recovered:,} hidden labels came back\n"
    words += f"{int(rows['proposed'].sum()):,} proposals of {made.height:,} concepts"
    axes.text(0.03, 0.97, words, transform=axes.transAxes, va="top", fontsize=8, color="#44505c")
