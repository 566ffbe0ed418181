"""Figures of a model's features, as PNG files; nothing needs a display."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from plmsae.reports.canvas import BAR as _BAR
from plmsae.reports.canvas import MARK as _MARK
from plmsae.reports.canvas import canvas_of_axes, need_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_f1_histogram(features: pl.DataFrame, path: Path) -> Path:
    """Draw how many live features reach which F1 with their best concept.

    Parameters
    ----------
    features : polars.DataFrame
        The bundle's ``features.parquet``: ``f1``, and ``dead`` if there is such a column.
    path : Path
        A ``.png`` file.

    Returns
    -------
    Path
        The same path.

    Raises
    ------
    InputError
        If a column is missing.
    """
    f1 = _alive(features, "f1")["f1"].drop_nulls().drop_nans().to_numpy()
    good = int((f1 > 0.5).sum())
    with _figure(path) as axes:
        axes.hist(f1, bins=np.linspace(0, 1, 41).tolist(), color=_BAR)
        axes.axvline(0.5, color=_MARK, linewidth=1)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("F1 with the best concept, on proteins not used to choose it")
        axes.set_ylabel("features")
        axes.set_title(f"{good:,} of {len(f1):,} features with a concept exceed F1 0.5", loc="left")
    return path


def plot_density_histogram(features: pl.DataFrame, path: Path) -> Path:
    """Draw how often features are active: the share of residues, on a logarithmic axis.

    Parameters
    ----------
    features : polars.DataFrame
        The bundle's ``features.parquet``: ``density``, and ``dead`` if there is such a column.
    path : Path
        A ``.png`` file.

    Returns
    -------
    Path
        The same path.

    Raises
    ------
    InputError
        If a column is missing.
    """
    density = _alive(features, "density")["density"].drop_nulls().to_numpy()
    positive = density[density > 0]
    dead = features.height - len(positive)
    with _figure(path) as axes:
        low = min(-6.0, float(np.log10(positive.min()))) if len(positive) else -6.0
        axes.hist(positive, bins=np.logspace(low, 0, 49).tolist(), color=_BAR)
        axes.set_xscale("log")
        axes.set_xlabel("share of residues on which the feature is active")
        axes.set_ylabel("features")
        axes.set_title(f"{len(positive):,} live features, {dead:,} dead", loc="left")
    return path


def plot_calibration(table: pl.DataFrame, path: Path) -> Path:
    """Draw promised against observed precision; on the diagonal the promise is kept.

    Parameters
    ----------
    table : polars.DataFrame
        One row for each concept or bin: ``promised`` and ``observed`` precision in [0, 1], ``n``
        the calls behind the observation; ``low`` and ``high``, the ends of its interval, if known.
    path : Path
        A ``.png`` file.

    Returns
    -------
    Path
        The same path.

    Raises
    ------
    InputError
        If a column is missing.
    """
    need_columns(table, "promised", "observed", "n")
    x, y = table["promised"].to_numpy(), table["observed"].to_numpy()
    n = table["n"].to_numpy()
    with _figure(path, width=4.6) as axes:
        axes.plot([0, 1], [0, 1], color="#8b97a3", linewidth=1, linestyle="--")
        if {"low", "high"} <= set(table.columns):
            axes.vlines(x, table["low"].to_numpy(), table["high"].to_numpy(), color=_BAR, alpha=0.4)
        axes.scatter(x, y, s=8 + 12 * np.log10(np.maximum(n, 1)), color=_BAR, zorder=3)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_aspect("equal")
        axes.set_xlabel("promised precision")
        axes.set_ylabel("observed precision")
        axes.set_title(f"Calibration over {int(n.sum()):,} calls", loc="left")
    return path


def _alive(features: pl.DataFrame, column: str) -> pl.DataFrame:
    need_columns(features, column)
    if "dead" not in features.columns:
        return features
    return features.filter(~pl.col("dead").fill_null(value=False))


@contextmanager
def _figure(path: Path, *, width: float = 7.0) -> Iterator[Axes]:
    with canvas_of_axes(path, width=width) as (axes,):
        yield axes
