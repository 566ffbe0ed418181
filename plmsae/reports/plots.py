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
    with _figure(path) as axes:
        axes.hist(f1, bins=np.linspace(0, 1, 41).tolist(), color=_BAR)
        axes.axvline(0.5, color=_MARK, linewidth=1)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("F1 with the best concept, on proteins not used to choose it")
        axes.set_ylabel("features")
        axes.set_title(f"F1 of {len(f1):,} features, each with its best concept", loc="left")
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


def _alive(features: pl.DataFrame, column: str) -> pl.DataFrame:
    need_columns(features, column)
    if "dead" not in features.columns:
        return features
    return features.filter(~pl.col("dead").fill_null(value=False))


@contextmanager
def _figure(path: Path, *, width: float = 7.0) -> Iterator[Axes]:
    with canvas_of_axes(path, width=width) as (axes,):
        yield axes
