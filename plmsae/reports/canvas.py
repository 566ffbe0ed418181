"""What every figure is drawn on: no global state, no display, the same bytes for the same data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from plmsae.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR, MARK, PALE = "#3d6fb4", "#b3261e", "#b9c2cc"
"""Colours of what is shown, of what to look at, and of what it is compared with."""


@contextmanager
def canvas(
    path: Path, *, width: float = 7.0, height: float = 4.2, columns: int = 1
) -> Iterator[list[Axes]]:
    """Yield axes side by side, sharing the vertical one; write the PNG if the block succeeds.

    Parameters
    ----------
    path : Path
        A ``.png`` file.
    width, height : float
        Of the whole figure, in inches.
    columns : int
        Number of axes.
    """
    # Figure and canvas by hand: pyplot keeps global state and would choose a backend for everyone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False, sharey=columns > 1)[0]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    yield list(axes)
    with atomic_path(Path(path)) as temporary:
        # No version or date inside: the same data give the same file.
        figure.savefig(temporary, format="png", metadata={"Software": None})
