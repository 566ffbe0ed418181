"""What a training run minimises: the part of the trainer that can be exchanged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from plmsae.plm.families import Family
from plmsae.plm.packed import PackedLayout


class Batch(NamedTuple):
    """Packed tokens of one step, or of a part of its rows.

    Attributes
    ----------
    lengths : list of int
        Tokens in each segment; they sum to N.
    ids : Tensor, dtype=int64, shape=(N,)
        What the model sees: some ids masked or replaced.
    where : Tensor, dtype=int64, shape=(M,)
        The indices to predict, ascending.
    target : Tensor, dtype=int64, shape=(M,)
        The true ids there.
    """

    lengths: list[int]
    ids: Tensor
    where: Tensor
    target: Tensor

    def split(self, count: int, row: int) -> list[Batch]:
        """Divide into `count` batches of equally many rows of `row` tokens."""
        if count == 1:
            return [self]
        size = len(self.ids) // count
        ends = np.cumsum(self.lengths)
        parts = []
        for start in range(0, len(self.ids), size):
            inside = (ends > start) & (ends <= start + size)
            first, last = torch.searchsorted(
                self.where, torch.tensor([start, start + size], device=self.where.device)
            ).tolist()
            parts.append(
                Batch(
                    [n for n, is_inside in zip(self.lengths, inside, strict=True) if is_inside],
                    self.ids[start : start + size],
                    self.where[first:last] - start,
                    self.target[first:last],
                )
            )
        return parts


class Objective(ABC, nn.Module):
    """A loss over a batch; a module, because it may have parameters of its own.

    Attributes
    ----------
    identity : str
        Compared when a run is continued.
    """

    identity: str

    @abstractmethod
    def loss(
        self,
        model: Any,
        family: Family,
        batch: Batch,
        layout: PackedLayout,
        row: int | None,
        step: int,
    ) -> Tensor:
        """Return the mean loss of the batch.

        Parameters
        ----------
        model : EsmForMaskedLM
        family : Family
            Runs it.
        batch : Batch
        layout : PackedLayout
            Of the batch, for `model`.
        row : int or None
            Tokens in a row, where attention runs on rows.
        step : int
            0-based.
        """


class MaskedTokens(Objective):
    """Cross-entropy of the true residues, where they were chosen for prediction."""

    identity = "masked tokens"

    def loss(
        self,
        model: Any,
        family: Family,
        batch: Batch,
        layout: PackedLayout,
        row: int | None,
        step: int,
    ) -> Tensor:
        """Return nats per chosen residue."""
        del row, step
        x_ND = family.embed(model.esm, batch.ids, layout)
        for _, state in family.run_blocks(model.esm, x_ND, layout, 0, len(model.esm.encoder.layer)):
            x_ND = state
        logits = family.logits(model, x_ND[batch.where])
        return functional.cross_entropy(logits.float(), batch.target)
