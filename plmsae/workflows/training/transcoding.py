"""Which layers a training run reads: those it encodes and, for transcoders, those it aims at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plmsae.core.errors import InputError

if TYPE_CHECKING:
    import torch

    from plmsae.sae.batch import Batch


def target_layers(recipe: Mapping[str, Any], layers: Sequence[int]) -> dict[int, int]:
    """Return the layer that each layer's transcoder reconstructs; empty if these are plain SAEs.

    Where no ``target_layer`` is given, it is the next one.

    Raises
    ------
    InputError
        If a target layer is given and nothing aims at it, or it is not above every layer; or there
        is no such target.
    """
    from plmsae.sae.config import TARGETS

    target = recipe.get("target_layer")
    if recipe.get("target", "input") not in TARGETS:
        raise InputError(
            "unknown target",
            where="--target",
            value=str(recipe["target"]),
            hint=f"one of {', '.join(TARGETS)}",
        )
    if recipe.get("target", "input") == "input":
        if target is not None:
            raise InputError(
                "only a transcoder has one",
                where="--target-layer",
                value=str(target),
                hint="give --target layer, or change",
            )
        return {}
    found = {layer: layer + 1 if target is None else int(target) for layer in layers}
    for layer, above in found.items():
        if above <= layer:
            raise InputError(
                f"a transcoder of layer {layer} needs a layer above it",
                where="--target-layer",
                value=str(above),
            )
    return found


def as_batch(states: Mapping[int, torch.Tensor], layer: int, target: int | None) -> Batch:
    """Return what an SAE of a layer is given: its rows, and those of its target if it has one."""
    return states[layer] if target is None else (states[layer], states[target])


def with_target(
    pick: Callable[[Any], torch.Tensor],
    target: int | None,
    picks: Callable[[int], Callable[[Any], torch.Tensor]],
) -> Callable[[Any], Batch]:
    """Return what takes one SAE's batch out of a shared one: of a transcoder, a pair.

    Parameters
    ----------
    pick : callable
        Takes the rows of the SAE's own layer.
    target : int or None
        Layer that a transcoder aims at.
    picks : callable
        Gives `pick` for any layer.
    """
    if target is None:
        return pick
    aim = picks(target)
    return lambda batch: (pick(batch), aim(batch))


class KeptRows:
    """Rows that are made once and then replayed, epoch after epoch.

    One row per protein takes little memory, and running the PLM over every protein again in every
    epoch would take most of the time of training.

    Parameters
    ----------
    make : callable
        Returns the stream of (n, D) tensors.
    """

    def __init__(self, make: Callable[[], Iterable[torch.Tensor]]) -> None:
        self._make = make
        self._kept: torch.Tensor | None = None

    def __call__(self) -> Iterator[torch.Tensor]:
        """Yield the rows, from memory if they were all made before."""
        if self._kept is not None:
            yield self._kept
            return
        made: list[torch.Tensor] = []
        for rows in self._make():
            made.append(rows)
            yield rows
        if made:
            self._kept = _joined(made)


def _joined(rows: list[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.cat(rows)
