"""Figures of a model's features, as PNG files; nothing needs a display."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from plmsae.reports.canvas import BAR, MARK, canvas_of_axes, need_columns


def plot_f1_histogram(features: pl.DataFrame, path: Path) -> Path:
    """Draw how many live features reach which F1 with their best concept.

    Parameters
    ----------
    features : polars.DataFrame
        The bundle's ``features.parquet``: ``f1``, and ``dead`` if there is such a column.
    """
    f1 = _alive(features, "f1")["f1"].drop_nulls().drop_nans().to_numpy()
    with canvas_of_axes(path) as (axes,):
        axes.hist(f1, bins=np.linspace(0, 1, 41).tolist(), color=BAR)
        axes.axvline(0.5, color=MARK, linewidth=1)
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
    """
    density = _alive(features, "density")["density"].drop_nulls().to_numpy()
    positive = density[density > 0]
    dead = features.height - len(positive)
    with canvas_of_axes(path) as (axes,):
        low = min(-6.0, float(np.log10(positive.min()))) if len(positive) else -6.0
        axes.hist(positive, bins=np.logspace(low, 0, 49).tolist(), color=BAR)
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
