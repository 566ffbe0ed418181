"""Figures of what the latents of a protein-level SAE are tied to, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from plmsae.core.errors import InputError
from plmsae.reports.canvas import bare_axes, need_columns, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SAE, _NEURON, _CONTROL, _CHANCE = "#3d6fb4", "#d08327", "#6b8f4e", "#8b97a3"
_LINES = {
    "sae": ("SAE latents", _SAE, "-", "o"),
    "transcoder": ("transcoder latents", _SAE, "-", "o"),
    "neuron": ("PLM neurons", _NEURON, "-", "s"),
    "composition": ("amino-acid composition", _CONTROL, "-", "^"),
    "sae_shuffled_terms": ("shuffled terms", _CHANCE, "--", "x"),
    "best_hit": ("terms of the best hit", _CONTROL, "--", "v"),
    "nearest_embedding": ("terms of the nearest embedding", _NEURON, "--", "D"),
}
_SPACES = {
    "biological_process": ("biological process", "#3d6fb4"),
    "molecular_function": ("molecular function", "#d08327"),
    "cellular_component": ("cellular component", "#6b8f4e"),
    "go": ("GO, as listed", "#9a7bb0"),
    "ec": ("EC number", "#b3261e"),
    "family": ("family", "#4a9a94"),
    "keyword": ("keyword", "#8b97a3"),
}
_OTHER = ("other", "#c4b28a")


def plot_share_by(table: pl.DataFrame, axis: str, path: Path, *, title: str, label: str) -> Path:
    """Draw the share of latents tied to a term against depth or information, one line per method.

    Parameters
    ----------
    table : polars.DataFrame
        ``method``, the column `axis` (whole numbers), ``share``. Where a method has no row for a
        value, its share there is 0.
    axis : str
        ``depth`` or ``bits``.
    title, label : str
        Of the figure, and of the horizontal axis.
    """
    need_columns(table, "method", axis, "share")
    if table.is_empty():
        raise InputError("there is nothing to draw", value=axis)
    values = np.arange(int(table[axis].min()), int(table[axis].max()) + 1)  # type: ignore[arg-type]
    figure = new_figure((7.0, 4.2))
    axes = bare_axes(figure)
    for method in table["method"].unique(maintain_order=True):
        name, colour, style, marker = _LINES.get(method, (method, _OTHER[1], "-", "."))
        rows = table.filter(pl.col("method") == method)
        share = dict(zip(rows[axis].to_list(), rows["share"].to_list(), strict=True))
        heights = [100 * share.get(int(value), 0.0) for value in values]
        axes.plot(
            values, heights, label=name, color=colour, linestyle=style, marker=marker, markersize=5
        )
    axes.set_xticks(values)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.set_xlabel(label)
    axes.set_ylabel("share of live latents")
    axes.set_title(title, loc="left")
    axes.grid(axis="y", color="#e4e8ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
    return save_figure(figure, path)


def plot_top_terms(terms: pl.DataFrame, path: Path) -> Path:
    """Draw the 20 terms to which most latents are tied, coloured by namespace.

    Parameters
    ----------
    terms : polars.DataFrame
        ``concept``, ``name`` (may be null), ``namespace``, ``n_latents``.
    """
    need_columns(terms, "concept", "name", "namespace", "n_latents")
    from matplotlib.ticker import MaxNLocator

    top = terms.sort("n_latents", "concept", descending=[True, False]).head(20)
    styles = [_SPACES.get(space, _OTHER) for space in top["namespace"]]
    names = [
        _label(name, concept) for concept, name in zip(top["concept"], top["name"], strict=True)
    ]
    figure, axes = _bars(names, top["n_latents"].to_list(), [colour for _, colour in styles])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("latents tied to the term, on the proteins reported on")
    axes.set_title(f"Terms of most latents ({top.height} of {terms.height:,})", loc="left")
    _legend(figure, list(dict.fromkeys(styles)))
    return save_figure(figure, path)


def plot_classes(classes: pl.DataFrame, path: Path) -> Path:
    """Draw the share of latents by broad process, family or enzyme class; 25 bars at most.

    Parameters
    ----------
    classes : polars.DataFrame
        Rows of one kind: ``concept``, ``name``, ``metabolic``, ``share`` of live latents in [0, 1].
    """
    need_columns(classes, "kind", "concept", "name", "metabolic", "share")
    kinds = classes["kind"].unique().to_list()
    if len(kinds) != 1:
        raise InputError("the classes to draw must be of one kind", value=", ".join(kinds))
    top = classes.sort("share", "concept", descending=[True, False]).head(25)
    names = [
        _label(name, concept) for concept, name in zip(top["concept"], top["name"], strict=True)
    ]
    colours = [_NEURON if metabolic else _SAE for metabolic in top["metabolic"]]
    figure, axes = _bars(names, [100 * share for share in top["share"]], colours)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.set_xlabel("share of live latents with a term in the class")
    what = {"process": "Biological processes", "family": "Families", "enzyme": "Enzyme classes"}
    axes.set_title(what.get(kinds[0], kinds[0]), loc="left")
    if top["metabolic"].any():
        _legend(figure, [("metabolic", _NEURON), ("other", _SAE)])
    return save_figure(figure, path)


def _label(name: str | None, concept: str) -> str:
    text = concept if name is None else name
    return text if len(text) <= 46 else text[:45] + "…"


def _bars(
    names: Sequence[str], lengths: Sequence[float], colours: Sequence[str]
) -> tuple[Figure, Axes]:
    figure = new_figure((7.4, max(2.0, 1.3 + 0.25 * len(names))))
    axes = bare_axes(figure)
    places = np.arange(len(names))
    axes.barh(places, lengths, color=colours, height=0.72)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    axes.margins(y=0.01)
    axes.grid(axis="x", color="#e4e8ec", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _legend(figure: Figure, entries: Sequence[tuple[str, str]]) -> None:
    """Put a legend below the axes, where it hides no bar."""
    from matplotlib.patches import Patch

    figure.legend(
        handles=[Patch(color=colour, label=name) for name, colour in entries],
        frameon=False,
        loc="outside lower center",
        ncols=4,
        fontsize=8.5,
    )
