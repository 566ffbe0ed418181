"""Train a small PLM to have the states and the predictions of a larger one.

The teacher sees the same corrupted ids in the same rows. Each layer of the student is compared
with a layer of the teacher; the squared error is divided by the variance of the teacher's states,
so that it is the fraction of variance unexplained and every layer counts the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from plmsae.core.errors import InputError
from plmsae.plm.distil_config import DistilConfig
from plmsae.plm.families import Family
from plmsae.plm.model import Plm
from plmsae.plm.objective import Batch, Objective
from plmsae.plm.packed import PackedLayout
from plmsae.plm.vocabulary import esm2_vocabulary


class Distillation(Objective):
    """The loss of a student that runs beside its teacher.

    Parameters
    ----------
    teacher : Plm
        Opened with its head, if it has one.
    n_layers, d_model : int
        Of the student. Its layer l learns the teacher's layer l · (teacher's layers) / n_layers.
    dtype : torch.dtype
        Of the teacher's matrix products.

    Raises
    ------
    InputError
        If the teacher's vocabulary is not ESM-2's, which is the student's, or its layers are not
        a multiple of the student's.
    """

    def __init__(
        self,
        teacher: Plm,
        config: DistilConfig,
        *,
        n_layers: int,
        d_model: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if teacher.vocabulary.fingerprint != esm2_vocabulary().fingerprint:
            raise InputError(
                "the vocabulary of this teacher is not that of ESM-2, which the student has",
                where=teacher.id,
                hint="take an ESM-2 model as the teacher",
            )
        if teacher.n_layers % n_layers:
            raise InputError(
                f"the teacher's layers ({teacher.n_layers}) must be a multiple of the student's "
                f"({n_layers})"
            )
        self.config = config
        self.dtype = dtype
        self.n_layers = n_layers
        self.stride = teacher.n_layers // n_layers
        self.identity = f"distillation of {teacher.revision}"
        # Not a submodule: its weights are neither trained nor kept in checkpoints.
        self._teacher = (teacher,)
        same = teacher.d_model == d_model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.maps = nn.ModuleList(
                nn.Identity() if same else nn.Linear(d_model, teacher.d_model)
                for _ in range(n_layers + 1)
            )
            self.unmaps = nn.ModuleList(
                nn.Identity() if same else nn.Linear(teacher.d_model, d_model)
                for _ in range(n_layers)
            )

    @property
    def teacher(self) -> Plm:
        """The PLM that is imitated."""
        return self._teacher[0]

    def loss(
        self,
        model: Any,
        family: Family,
        batch: Batch,
        layout: PackedLayout,
        row: int | None,
        step: int,
    ) -> Tensor:
        """Return the weighted sum of all parts."""
        config = self.config
        targets, teacher_logits = self.teach(batch, row)
        forced = self.forced_tokens(batch, row, step)
        x_ND = family.embed(model.esm, batch.ids, layout)
        parts = [unexplained(self.maps[0](x_ND), targets[0])]
        for number in range(1, self.n_layers + 1):
            if forced is not None:
                below = self.unmaps[number - 1](targets[number - 1])
                x_ND = torch.where(forced, below, x_ND)
            _, x_ND = next(family.run_blocks(model.esm, x_ND, layout, number - 1, number))
            parts.append(unexplained(self.maps[number](x_ND), targets[number]))
        total = config.state_weight * torch.stack(parts).mean()
        if len(batch.where) and (config.kl_weight or config.true_weight):
            logits = family.logits(model, x_ND[batch.where]).float()
            if config.true_weight:
                total = total + config.true_weight * functional.cross_entropy(logits, batch.target)
            if config.kl_weight and teacher_logits is not None:
                total = total + config.kl_weight * functional.kl_div(
                    functional.log_softmax(logits, -1),
                    functional.log_softmax(teacher_logits, -1),
                    reduction="batchmean",
                    log_target=True,
                )
        return total

    @torch.no_grad()
    def teach(self, batch: Batch, row: int | None) -> tuple[list[Tensor], Tensor | None]:
        """Return the teacher's states (N, D) of each compared layer, and its logits (M, V)."""
        plm = self.teacher
        layout = plm.family.layout(
            plm.model, batch.lengths, batch.ids.device, dtype=self.dtype, row=row
        )
        x_ND = plm.embed(batch.ids, layout)
        states = [x_ND]
        for number, state in plm.run_blocks(x_ND, layout, 0, plm.n_layers):
            x_ND = state
            if number % self.stride == 0:
                states.append(state)
        if plm.masked_lm is None or not self.config.kl_weight:
            return states, None
        return states, plm.logits(x_ND[batch.where]).float()

    def forced_tokens(self, batch: Batch, row: int | None, step: int) -> Tensor | None:
        """Say which tokens' blocks take the teacher's states, bool (N, 1); None for none."""
        config = self.config
        if step >= config.forced_steps:
            return None
        n = len(batch.ids)
        width = row or n
        rows = torch.arange(n, device=batch.ids.device) // width
        share = config.forced_share
        return (torch.floor((rows + 1) * share) > torch.floor(rows * share)).unsqueeze(1)


def unexplained(states_ND: Tensor, target_ND: Tensor) -> Tensor:
    """Return the squared error of states divided by the variance of their targets (sum over D)."""
    variance = target_ND.var(0).sum()
    return (states_ND - target_ND).pow(2).sum(1).mean() / variance
