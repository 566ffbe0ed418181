"""The two halves of a PLM around layer L, so that something can be put in between.

Shapes: N packed tokens (special tokens included), M of them to predict, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor

from plmsae.plm.model import Plm
from plmsae.plm.packed import PackedLayout


def states_at(
    plm: Plm, ids_N: Tensor, lengths: Sequence[int], layer: int
) -> tuple[Tensor, PackedLayout]:
    """Run a PLM up to layer L.

    Parameters
    ----------
    ids_N : Tensor, dtype=int64, shape (N,)
        Tokens of packed sequences, as `Plm.pack` gives them; some may be masked.
    lengths : sequence of int
        Tokens of each sequence.

    Returns
    -------
    x_ND : Tensor, shape (N, D)
        In the dtype of the PLM's residual stream.
    layout : PackedLayout
        What `logits_from` needs of these sequences.
    """
    states, layout = states_at_layers(plm, ids_N, lengths, [layer])
    return states[layer], layout


def states_at_layers(
    plm: Plm, ids_N: Tensor, lengths: Sequence[int], layers: Collection[int]
) -> tuple[dict[int, Tensor], PackedLayout]:
    """Run a PLM once up to the highest of several layers; return the states of each by layer.

    As `states_at` otherwise.
    """
    layout = plm.layout(lengths)
    x_ND = plm.embed(ids_N.to(plm.device), layout)
    states = {0: x_ND} if 0 in layers else {}
    blocks = plm.run_blocks(x_ND, layout, 0, max(layers))
    states |= {number: state for number, state in blocks if number in layers}
    return states, layout


def logits_from(plm: Plm, x_ND: Tensor, layout: PackedLayout, layer: int, where: Tensor) -> Tensor:
    """Run all blocks above layer L and the head.

    Parameters
    ----------
    plm : Plm
        Opened with ``head=True``.
    x_ND : Tensor, shape (N, D)
        Layer L, changed or not.
    where : Tensor, shape (M,), int64 or (N,), bool
        The tokens to predict.

    Returns
    -------
    Tensor, shape (M, V)
    """
    for _, state in plm.run_blocks(x_ND, layout, layer, plm.n_layers):
        x_ND = state
    return plm.logits(x_ND[where])
