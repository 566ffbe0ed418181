"""A tokenized corpus on disk, and an endless packed stream of batches drawn from it.

The stream is a pure function of (corpus, seed, step): no iterator state exists, so a run resumes at
any step with exactly the batches it would have seen.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plmsae.atomic import atomic_folder, write_json
from plmsae.errors import InputError
from plmsae.plm.vocabulary import CLS, EOS, tokenize

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpus:
    """Tokenized proteins, end to end.

    Attributes
    ----------
    tokens : ndarray, dtype=uint8, shape=(n_residues,)
        Token ids without special tokens (memory-mapped).
    offsets : ndarray, dtype=int64, shape=(n_proteins + 1,)
        Where each protein starts in `tokens`.
    weights : ndarray, dtype=float64, shape=(n_proteins,)
        Relative sampling weights.
    fingerprint : str
        SHA-256 over tokens, offsets and weights.
    """

    tokens: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    weights: NDArray[np.float64]
    fingerprint: str

    @property
    def n_proteins(self) -> int:
        """Number of proteins."""
        return len(self.offsets) - 1


def write_corpus(
    folder: Path, sequences: Iterable[str], weights: NDArray[np.float64] | None = None
) -> Corpus:
    """Tokenize `sequences` into `folder` (atomically) and open it.

    Parameters
    ----------
    folder : Path
        Made new; replaced if it exists.
    sequences : iterable of str
        Upper-case residues.
    weights : ndarray, shape=(n_proteins,), optional
        Relative sampling weights; equal if not given.
    """
    parts = [tokenize(sequence) for sequence in sequences]
    if not parts:
        raise InputError("the corpus holds no proteins", where=folder)
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.concatenate(parts)
    if weights is None:
        weights = np.ones(len(parts))
    if len(weights) != len(parts) or not np.all(weights > 0):
        raise InputError("sampling weights must be positive, one a protein", where=folder)
    digest = hashlib.sha256()
    for array in (tokens, offsets, weights):
        digest.update(np.ascontiguousarray(array).tobytes())
    with atomic_folder(folder) as temporary:
        np.save(temporary / "tokens.npy", tokens)
        np.save(temporary / "offsets.npy", offsets)
        np.save(temporary / "weights.npy", weights)
        write_json(temporary / "corpus.json", {"fingerprint": digest.hexdigest()})
    return open_corpus(folder)


def open_corpus(folder: Path) -> Corpus:
    """Open a folder written by `write_corpus`."""
    meta = folder / "corpus.json"
    if not meta.exists():
        raise InputError("no tokenized corpus here", where=folder)
    return Corpus(
        tokens=np.load(folder / "tokens.npy", mmap_mode="r"),
        offsets=np.load(folder / "offsets.npy"),
        weights=np.load(folder / "weights.npy"),
        fingerprint=json.loads(meta.read_text())["fingerprint"],
    )


class PackedBatch(NamedTuple):
    """One batch without padding.

    Attributes
    ----------
    ids : ndarray, dtype=int64, shape=(N,)
        Token ids; each segment is ``<cls> residues <eos>`` or a piece of it.
    lengths : list of int
        Tokens in each segment; they sum to N, and none crosses a multiple of the stream's `row`.
    """

    ids: NDArray[np.int64]
    lengths: list[int]


class PackedStream:
    """Endless batches of exactly `tokens_per_batch` tokens.

    Within one epoch every protein is drawn once, those of larger weight earlier (weighted sampling
    without replacement by exponential races, Efraimidis & Spirakis 2006). Proteins longer than a
    row give a random window; a protein that does not fit the end of a row is cut, and its rest
    opens the next one.

    Parameters
    ----------
    corpus : Corpus
    tokens_per_batch : int
        A multiple of `row`.
    row : int
        Tokens in a row: the longest segment, special tokens included.
    seed : int
    share_per_epoch : float
        The part of the corpus that makes an epoch, in draws. The smaller, the closer draws are to
        the weights: what weighs little is left out of most epochs.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        tokens_per_batch: int,
        row: int,
        seed: int,
        share_per_epoch: float = 0.1,
    ) -> None:
        self.corpus = corpus
        self.tokens_per_batch = tokens_per_batch
        self.row = row
        self.seed = seed
        self.draws = max(1, int(share_per_epoch * corpus.n_proteins))
        self._plan = lru_cache(maxsize=2)(self._make_plan)

    def _make_plan(self, epoch: int) -> tuple[NDArray[np.int64], ...]:
        """Return starts (in `tokens`), residue counts and cumulative packed ends of an epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        corpus = self.corpus
        race = rng.exponential(size=corpus.n_proteins) / corpus.weights
        order = np.argsort(race, kind="stable")[: self.draws]
        order = rng.permutation(order)
        lengths = np.diff(corpus.offsets)[order]
        kept = np.minimum(lengths, self.row - 2)
        starts = corpus.offsets[order] + rng.integers(0, lengths - kept + 1)
        return starts, kept, np.cumsum(kept + 2)

    def batch(self, step: int) -> PackedBatch:
        """Return batch number `step` (0-based)."""
        epoch, first = 0, step * self.tokens_per_batch
        while first >= (total := int(self._plan(epoch)[2][-1])):
            # An epoch's last, partial batch runs over into the next epoch.
            first -= total
            epoch += 1
        pieces: list[NDArray[np.uint8]] = []
        missing = self.tokens_per_batch
        while missing:
            starts, kept, ends = self._plan(epoch)
            index = int(np.searchsorted(ends, first, side="right"))
            while missing and index < len(ends):
                skip = first - (int(ends[index]) - int(kept[index]) - 2)
                start = int(starts[index])
                residues = self.corpus.tokens[start : start + int(kept[index])]
                room = (missing - 1) % self.row + 1
                piece = np.concatenate([[CLS], residues, [EOS]]).astype(np.uint8)[skip:][:room]
                pieces.append(piece)
                missing -= len(piece)
                first += len(piece)
                index += int(first == ends[index])
            if index == len(ends):
                epoch, first = epoch + 1, 0
        return PackedBatch(
            np.concatenate(pieces).astype(np.int64), [len(piece) for piece in pieces]
        )
