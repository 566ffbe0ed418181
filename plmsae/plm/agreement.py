"""How much of a teacher's states a student has, layer by layer, on proteins held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from plmsae.plm.distil import Distillation
from plmsae.plm.model import Plm


@torch.no_grad()
def unexplained_by_layer(
    student: Plm,
    objective: Distillation,
    sequences: Sequence[str],
    *,
    masked_share: float = 0.0,
    token_budget: int = 8192,
) -> list[float]:
    """Return the fraction of variance unexplained (FVU) of each compared layer of the teacher.

    The squared error of the student's residue states, mapped to the teacher's width, divided by
    the variance of the teacher's states, both summed over the dimensions; 0 is a perfect copy, 1
    what their mean would give.

    Parameters
    ----------
    objective : Distillation
        Has the teacher, the pairs of layers and the maps between widths.
    masked_share : float
        Share of the standard residues that both see as a mask.

    Returns
    -------
    list of float
        Layer 0 (the embedding) first.
    """
    teacher, stride = objective.teacher, objective.stride
    rng = np.random.default_rng(0)
    layers = range(student.n_layers + 1)
    errors = np.zeros(len(layers))
    squares = np.zeros(len(layers))
    sums = [torch.zeros(teacher.d_model, dtype=torch.float64, device=teacher.device)] * len(layers)
    count = 0
    for batch in _batches(sequences, token_budget):
        ids, lengths = student.pack(batch)
        is_residue = student.is_residue(lengths)
        if masked_share:
            standard = torch.isin(ids, torch.tensor(student.vocabulary.standard))
            chosen = torch.from_numpy(rng.random(len(ids)) < masked_share) & standard
            ids = torch.where(chosen, student.vocabulary.mask_id, ids)
        count += int(is_residue.sum())
        theirs = _states(teacher, ids, lengths, stride)
        for layer, ours in enumerate(_states(student, ids, lengths, 1)):
            target = theirs[layer][is_residue].double()
            guess = objective.maps[layer](ours[is_residue]).double()
            errors[layer] += float((guess - target).square().sum())
            squares[layer] += float(target.square().sum())
            sums[layer] = sums[layer] + target.sum(0)
    spread = [
        s - float(total.square().sum()) / count for s, total in zip(squares, sums, strict=True)
    ]
    return [float(e / v) for e, v in zip(errors, spread, strict=True)]


def _states(plm: Plm, ids: Tensor, lengths: list[int], stride: int) -> list[Tensor]:
    layout = plm.layout(lengths)
    x_ND = plm.embed(ids.to(plm.device), layout)
    states = [x_ND]
    for number, state in plm.run_blocks(x_ND, layout, 0, plm.n_layers):
        if number % stride == 0:
            states.append(state)
    return states


def _batches(sequences: Sequence[str], token_budget: int) -> list[list[str]]:
    batches: list[list[str]] = [[]]
    tokens = 0
    for sequence in sorted(sequences, key=len):
        if batches[-1] and tokens + len(sequence) > token_budget:
            batches.append([])
            tokens = 0
        batches[-1].append(sequence)
        tokens += len(sequence)
    return batches
