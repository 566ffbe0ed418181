"""Figures by amino acid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from plmsae.reports.canvas import BAR, MARK, canvas_of_axes, need_rows


def plot_variance_by_residue(table: pl.DataFrame, path: Path) -> Path:
    """Draw how much of the variance is explained at each amino acid.

    Parameters
    ----------
    table : polars.DataFrame
        ``residue``, ``n_residues``, ``explained_variance`` (about the mean of all residues) and
        ``explained_variance_within`` (about the mean of that amino acid; may be null).
    """
    variances = ["explained_variance", "explained_variance_within"]
    need_rows(table, "residues", "residue", "n_residues", *variances)
    rows = table.sort("explained_variance", "residue", descending=[True, False], nulls_last=True)
    places = np.arange(rows.height)
    with canvas_of_axes(path, width=8.0, height=3.8) as (axes,):
        explained, within = (rows[name].cast(pl.Float64).to_numpy() for name in variances)
        axes.bar(places, explained, width=0.7, color=BAR, label="of all variance")
        axes.plot(
            places,
            within,
            "o",
            color=MARK,
            markersize=5,
            label="of what the amino acid leaves open",
        )
        lowest = float(np.nanmin(np.concatenate([explained, within, [1.0]])))
        axes.set_ylim(min(0.0, lowest), 1.0)  # a bad SAE goes below 0
        axes.set_xticks(places, rows["residue"].to_list())
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel("variance explained")
        n = int(rows["n_residues"].sum())
        axes.set_title(f"Reconstruction by amino acid, {n:,} residues", loc="left", fontsize=10)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False)
    return path
