"""What every figure is drawn on: no global state, no display, the same bytes for the same data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR, MARK, PALE = "#3d6fb4", "#b3261e", "#b9c2cc"
"""Colours of what is shown, of what to look at, and of what it is compared with."""


@contextmanager
def canvas(path: Path, *, size: tuple[float, float]) -> Iterator[Figure]:
    """Open an empty figure of `size` (width, height in inches); it is saved as PNG at the end."""
    # Figure and canvas by hand: pyplot keeps global state and would choose a backend for everyone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    with atomic_path(Path(path)) as temporary:
        # No version or date inside: the same data give the same file.
        figure.savefig(temporary, format="png", metadata={"Software": None})


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
    columns : int
        Number of axes.
    """
    with canvas(path, size=(width, height)) as figure:
        axes = [bare_axes(figure, 1, columns, 1)]
        for column in range(2, columns + 1):
            more = bare_axes(figure, 1, columns, column, sharey=axes[0])
            more.tick_params(labelleft=False)
            axes.append(more)
        yield axes
