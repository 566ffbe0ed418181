"""What every figure is drawn on: no display, no clock, no state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
