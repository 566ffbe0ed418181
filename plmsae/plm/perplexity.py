"""Masked perplexity: how surprised a PLM is by residues it cannot see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plmsae.plm.vocabulary import CLS, EOS, MASK, STANDARD, tokenize

if TYPE_CHECKING:
    import torch


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
    sequences: Sequence[str],
    *,
    count: int = 400,
    shortest: int = 50,
    longest: int = 500,
    seed: int = 0,
) -> list[str]:
    """Draw `count` proteins of `shortest` to `longest` residues, the same for the same seed."""
    fitting = [s for s in sequences if shortest <= len(s) <= longest]
    order = np.random.default_rng(seed).permutation(len(fitting))[:count]
    return [fitting[i] for i in order]


def masked_perplexity(
    model: Any,
    sequences: Sequence[str],
    *,
    share: float = 0.15,
    seed: int = 0,
    token_budget: int = 8192,
    dtype: torch.dtype | None = None,
) -> Perplexity:
    """Mask `share` of the standard residues of each protein (all as ``<mask>``) and predict them.

    Parameters
    ----------
    model : EsmForMaskedLM
    sequences : sequence of str
    share : float
        Masked share of positions; at least one a protein.
    seed : int
        Positions depend on it and on the sequences only.
    dtype : torch.dtype, optional
        Of the matrix products; float32 if not given.
    """
    import torch
    from torch.nn import functional

    from plmsae.plm.packed import make_layout, masked_logits

    device = next(model.parameters()).device
    rng = np.random.default_rng(seed)
    total, count = 0.0, 0
    segments: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for sequence in sequences:
        ids = np.concatenate([[CLS], tokenize(sequence), [EOS]]).astype(np.int64)
        standard = np.flatnonzero(np.isin(ids, STANDARD))
        chosen = rng.permutation(standard)[: max(1, round(share * len(standard)))]
        segments.append((ids, np.sort(chosen)))
    segments.sort(key=lambda pair: len(pair[0]))
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        while segments:
            batch: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
            tokens = 0
            while segments and (not batch or tokens + len(segments[-1][0]) <= token_budget):
                batch.append(segments.pop())
                tokens += len(batch[-1][0])
            lengths = [len(ids) for ids, _ in batch]
            ends = np.cumsum([0, *lengths[:-1]])
            where = np.concatenate([w + e for (_, w), e in zip(batch, ends, strict=True)])
            packed = torch.from_numpy(np.concatenate([ids for ids, _ in batch]))
            index = torch.from_numpy(where)
            target = packed[index].to(device)
            packed[index] = MASK
            layout = make_layout(model.config, lengths, device, dtype=dtype or torch.float32)
            logits = masked_logits(model, packed.to(device), layout, index.to(device))
            total += float(functional.cross_entropy(logits.double(), target, reduction="sum"))
            count += len(where)
    model.train(was_training)
    return Perplexity(math.exp(total / max(count, 1)), count)


def unigram_perplexity(train: Sequence[str], test: Sequence[str]) -> float:
    """Return the perplexity on `test` of a model that knows only the composition of `train`."""
    counts = np.ones(33)
    for sequence in train:
        counts += np.bincount(tokenize(sequence), minlength=33)
    standard = list(STANDARD)
    log_p = np.log(counts / counts[standard].sum())
    observed = np.bincount(tokenize("".join(test)), minlength=33)[standard]
    return float(np.exp(-(observed * log_p[standard]).sum() / observed.sum()))


def shuffled(sequences: Sequence[str], seed: int = 0) -> list[str]:
    """Shuffle the residues of each sequence: composition kept, order lost."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.permutation(list(s))) for s in sequences]
