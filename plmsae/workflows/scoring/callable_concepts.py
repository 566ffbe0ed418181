"""Which concepts a model can call at a precision, said before hours are spent on scoring."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from plmsae.core.errors import InputError

if TYPE_CHECKING:
    from plmsae.scoring.encoding import ModelBundle

_SHOWN = 3


def refuse_if_none_callable(
    bundle: ModelBundle, min_precision: float | None, *, model: str
) -> None:
    """Refuse to score with a model of which no concept can be called.

    Parameters
    ----------
    min_precision : float or None
        What concepts must meet to be called; None means the model's own bound.
    model : str
        How the user named the model.

    Raises
    ------
    InputError
        If every concept abstains; the hint names the bound at which some would be called, or the
        command that measures them.
    """
    from plmsae.concepts.calling.calibration import called, highest_bar, meets
    from plmsae.concepts.labels.names import named

    bound = bundle.meta.min_precision if min_precision is None else min_precision
    concepts = bundle.concepts
    if meets(concepts, bound).any():
        return
    if concepts.is_empty():
        raise InputError(
            "nobody has measured what the features of this model mean, so it can annotate nothing",
            where=model,
            hint=f"run plmsae evaluate TABLE --model {model} on labelled proteins, or give "
            "--features to write which latents fire",
        )
    bars = concepts.with_columns(bar=highest_bar(concepts)).drop_nulls("bar")
    if bars.is_empty():
        raise InputError(
            f"none of the {concepts.height:,} concepts of this model can be called: for none was "
            "the precision of its calls measured",
            where=model,
            hint=f"run plmsae evaluate TABLE --model {model} on more labelled proteins, or give "
            "--features to write which latents fire",
        )
    best = bars.sort("bar", "concept", descending=[True, False])
    lower = round_down(best["bar"][0])
    count = int(called(concepts, lower).sum())
    best_named = ", ".join(
        f"{named(row)} {round_down(row['bar']):g}"
        for row in best.head(_SHOWN).iter_rows(named=True)
    )
    raise InputError(
        f"none of the {concepts.height:,} concepts of this model can be called at "
        f"--min-precision {bound:g}",
        where=model,
        hint=f"--min-precision {lower:g} would call {count:,} of them; the most precise, each with "
        f"the highest bound it meets: {best_named}",
    )


def round_down(bound: float) -> float:
    """Round a bound down to two digits (four below 0.01), to a bound that is still met."""
    digits = 100 if bound >= 0.01 else 10_000
    steps = math.floor(bound * digits)
    # The product may round up to a whole number that the bound itself does not reach.
    return (steps if steps / digits <= bound else steps - 1) / digits
