"""What every figure is drawn on: no global state, no display, the same bytes for the same data.

Each function ``plot_…`` of this package draws one table, writes the figure to `path`, a ``.png``
file, and returns the path. For a table that cannot be drawn, `need_columns` and `need_rows` raise
`InputError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.core.atomic import atomic_path
from plmsae.core.errors import InputError

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR, MARK, PALE = "#3d6fb4", "#b3261e", "#b9c2cc"
"""Colours of what is shown, of what to look at, and of what it is compared with."""


def new_figure(size: tuple[float, float]) -> Figure:
    """Return an empty figure of `size` (width, height in inches)."""
    # Figure and canvas by hand: pyplot keeps global state and would choose a backend for everyone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically; return the path."""
    with atomic_path(Path(path)) as temporary:
        # No version or date inside: the same data give the same file.
        figure.savefig(temporary, format="png", metadata={"Software": None})
    return Path(path)


@contextmanager
def canvas(path: Path, *, size: tuple[float, float]) -> Iterator[Figure]:
    """Open an empty figure of `size` (width, height in inches); it is saved as PNG at the end."""
    figure = new_figure(size)
    yield figure
    save_figure(figure, path)


def bare_axes(figure: Figure, *place: Any, **options: Any) -> Axes:
    """Add axes without a frame at the top and on the right; arguments as ``add_subplot``'s."""
    axes: Axes = figure.add_subplot(*place, **options)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


@contextmanager
def canvas_of_axes(
    path: Path, *, width: float = 7.0, height: float = 4.2, columns: int = 1
) -> Iterator[list[Axes]]:
    """Yield axes side by side that share the vertical one; the figure is saved at the end.

    Parameters
    ----------
    path : Path
        A ``.png`` file.
    width, height : float
        Of the whole figure, in inches.
    """
    with canvas(path, size=(width, height)) as figure:
        axes = [bare_axes(figure, 1, columns, 1)]
        for column in range(2, columns + 1):
            more = bare_axes(figure, 1, columns, column, sharey=axes[0])
            more.tick_params(labelleft=False)
            axes.append(more)
        yield axes


def need_columns(table: pl.DataFrame, *columns: str) -> None:
    """Raise `InputError` if the table to draw lacks a column."""
    for column in columns:
        if column not in table.columns:
            raise InputError("the table to draw lacks a column", value=column)


def need_rows(table: pl.DataFrame, what: str, *columns: str) -> None:
    """Raise `InputError` if the table to draw lacks a column, or has no row: no `what` to draw."""
    need_columns(table, *columns)
    if not table.height:
        raise InputError(f"there are no {what} to draw")
