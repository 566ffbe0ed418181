"""Which concepts a model can call at a precision, said before hours are spent on scoring."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

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
    would = bars.filter(called(bars, lower)).to_dicts()
    count = len(would) - len(beside_members(would, "bar"))
    raise InputError(
        f"none of the {concepts.height:,} concepts of this model can be called at "
        f"--min-precision {bound:g}",
        where=model,
        hint=f"--min-precision {lower:g} would call {count:,} of them; the most precise, each with "
        f"the highest bound it meets: {most_precise(best.to_dicts(), 'bar')}",
    )


def beside_members(rows: Iterable[Mapping[str, Any]], bar: str) -> dict[str, str]:
    """Return the classes whose calls a member makes, each with that member.

    ``Transmembrane`` beside ``Transmembrane: Helical`` with the very same bound: to a reader the
    two are one, and of the same calls those of the class are left out (`scoring.hierarchy`).

    Parameters
    ----------
    rows : iterable of mapping
        With ``concept``.
    bar : str
        Key of the bound.
    """
    listed = list(rows)
    bar_of = {row["concept"]: row[bar] for row in listed}
    found: dict[str, str] = {}
    for row in listed:
        parent, separator, _ = row["concept"].partition(": ")
        if separator and bar_of.get(parent) == row[bar]:
            found.setdefault(parent, row["concept"])
    return found


def most_precise(rows: Iterable[Mapping[str, Any]], bar: str) -> str:
    """Name the first concepts with the bounds they meet, a class together with its member.

    Parameters
    ----------
    rows : iterable of mapping
        The most precise first; ``concept``, and the ``name`` of an id.
    bar : str
        Key of the bound.
    """
    from plmsae.concepts.labels.names import named

    listed = list(rows)
    member_of = beside_members(listed, bar)
    classes = {member: parent for parent, member in member_of.items()}
    shown = [
        named(row)
        + (f" (and so {classes[row['concept']]})" if row["concept"] in classes else "")
        + f" {round_down(row[bar]):g}"
        for row in listed
        if row["concept"] not in member_of
    ]
    return ", ".join(shown[:_SHOWN])


def calls_freed(rows: Iterable[Mapping[str, Any]]) -> int:
    """Return how many withheld calls would be made if these concepts were called.

    A call of a class is left out where a member is called, so of a class and its members those of
    the members count, or those of the class where they are more.

    Parameters
    ----------
    rows : iterable of mapping
        ``concept`` and ``n_withheld``.
    """
    own: dict[str, int] = defaultdict(int)
    members: dict[str, int] = defaultdict(int)
    for row in rows:
        parent, separator, _ = row["concept"].partition(": ")
        (members if separator else own)[parent] += row["n_withheld"]
    return sum(max(own[name], members[name]) for name in own | members)


def round_down(bound: float) -> float:
    """Round a bound down to two digits (four below 0.01), to a bound that is still met."""
    digits = 100 if bound >= 0.01 else 10_000
    steps = math.floor(bound * digits)
    # The product may round up to a whole number that the bound itself does not reach.
    return (steps if steps / digits <= bound else steps - 1) / digits
