"""Saying which model is used when the user names none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plmsae.core.resources import READY
from plmsae.core.words import counted
from plmsae.workflows.shared.progress import Progress

if TYPE_CHECKING:
    from plmsae.bundle.reading import Bundle


def introduce(reference: str, bundle: Bundle, progress: Progress) -> None:
    """Tell what the model that comes with plmsae is and how it was measured.

    Nothing is said of a model that the user chose.
    """
    if reference != READY:
        return
    import polars as pl

    from plmsae.concepts.calling.calibration import called

    meta = bundle.meta
    own = bundle.concepts.filter(called(bundle.concepts, meta.min_precision))
    words = f"{counted(own['concept'].n_unique(), 'concept')} can be called"
    if own.height:
        low, high = own.select(
            pl.col("call_precision").min().alias("low"),
            pl.col("call_precision").max().alias("high"),
        ).row(0)
        words += f", with a precision of {low:.2f} to {high:.2f}"
    if meta.eval_data is not None:
        words += f", measured on {meta.eval_data.n_proteins:,} proteins of {meta.eval_data.source}"
    progress.say(f"using the model that comes with plmsae, {bundle.name}: {words}")
    progress.say(
        "it reads a small PLM; --model names another, and plmsae train makes one for a larger PLM"
    )
