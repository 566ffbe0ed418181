"""Masked perplexity: how surprised a PLM is by residues it cannot see."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plmsae.proteins.alphabet import AMINO_ACIDS

if TYPE_CHECKING:
    from torch import Tensor

    from plmsae.plm.model import Plm

_SHARE = 0.15  # Of the standard residues, that are masked.
_TOKENS = 8192  # Of one batch.

#: Token ids of one sequence, and the positions in it that are masked.
_Masked = tuple[NDArray[np.int64], NDArray[np.int64]]


class Perplexity(NamedTuple):
    """Masked perplexity of a model on some proteins.

    Attributes
    ----------
    perplexity : float
        exp of the mean cross-entropy (natural log) over the masked residues.
    n_masked : int
        How many residues were masked.
    """

    perplexity: float
    n_masked: int


def choose_proteins(
    sequences: Sequence[str], *, count: int = 400, longest: int = 500, seed: int = 0
) -> list[str]:
    """Draw `count` proteins of 50 to `longest` residues, the same for the same seed."""
    fitting = [s for s in sequences if 50 <= len(s) <= longest]
    order = np.random.default_rng(seed).permutation(len(fitting))[:count]
    return [fitting[i] for i in order]


def masked_perplexity(plm: Plm, sequences: Sequence[str], *, seed: int = 0) -> Perplexity:
    """Mask 15 % of the standard residues of each protein (all as ``<mask>``) and predict them.

    Parameters
    ----------
    plm : Plm
        Opened with its head.
    seed : int
        Positions depend on it and on the sequences only; at least one in each protein.

    Raises
    ------
    InputError
        If the PLM has no mask token or was opened without its head.
    """
    import torch
    from torch.nn import functional

    plm.check_head()
    total, count = 0.0, 0
    for x_MD, target_M in masked_states(plm, sequences, seed=seed):
        with torch.inference_mode():
            logits = plm.logits(x_MD)
            total += float(functional.cross_entropy(logits.double(), target_M, reduction="sum"))
        count += len(target_M)
    return Perplexity(math.exp(total / max(count, 1)), count)


def masked_states(
    plm: Plm, sequences: Sequence[str], *, seed: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Mask residues as `masked_perplexity` does, and yield the last layer at them, batch by batch.

    Yields
    ------
    x_MD : Tensor, shape (M, D)
        States of the last layer, after the final norm, at the masked residues.
    target_M : Tensor, dtype=int64, shape (M,)
        The token ids that were masked.

    Raises
    ------
    InputError
        If the PLM has no mask token.
    """
    vocabulary = plm.vocabulary
    rng = np.random.default_rng(seed)
    segments: list[_Masked] = []
    for sequence in sequences:
        ids = vocabulary.encode(sequence)
        standard = np.flatnonzero(np.isin(ids, vocabulary.standard))
        chosen = rng.permutation(standard)[: max(1, round(_SHARE * len(standard)))]
        segments.append((ids, np.sort(chosen)))
    segments.sort(key=lambda pair: len(pair[0]))
    while segments:
        batch: list[_Masked] = []
        tokens = 0
        while segments and (not batch or tokens + len(segments[-1][0]) <= _TOKENS):
            batch.append(segments.pop())
            tokens += len(batch[-1][0])
        yield _states_at_masks(plm, batch)


def _states_at_masks(plm: Plm, batch: list[_Masked]) -> tuple[Tensor, Tensor]:
    import torch

    lengths = [len(ids) for ids, _ in batch]
    ends = np.cumsum([0, *lengths[:-1]])
    where = np.concatenate([w + e for (_, w), e in zip(batch, ends, strict=True)])
    packed = torch.from_numpy(np.concatenate([ids for ids, _ in batch]))
    index = torch.from_numpy(where)
    target_M = packed[index].to(plm.device)
    packed[index] = plm.vocabulary.mask_id
    layout = plm.layout(lengths)
    with torch.inference_mode():
        x_ND = plm.embed(packed.to(plm.device), layout)
        for _, state in plm.run_blocks(x_ND, layout, 0, plm.n_layers):
            x_ND = state
        return x_ND[index.to(plm.device)], target_M


def unigram_perplexity(train: Sequence[str], test: Sequence[str]) -> float:
    """Return the perplexity on `test` of a model that knows only the composition of `train`."""
    letters = np.frombuffer(AMINO_ACIDS.encode(), dtype=np.uint8)

    def count(sequence: str) -> NDArray[np.int64]:
        found = np.frombuffer(sequence.encode(), dtype=np.uint8)
        return np.bincount(found, minlength=256)[letters]

    counts = np.sum([np.ones(len(letters), dtype=np.int64), *map(count, train)], axis=0)
    log_p = np.log(counts / counts.sum())
    observed = count("".join(test))
    return float(np.exp(-(observed * log_p).sum() / observed.sum()))


def shuffled(sequences: Sequence[str], seed: int = 0) -> list[str]:
    """Shuffle the residues of each sequence: composition kept, order lost."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.permutation(list(s))) for s in sequences]
