"""A tokenized corpus on disk, and an endless packed stream of batches drawn from it.

The stream is a pure function of (corpus, seed, step): no iterator state exists, so a run resumes at
any step with exactly the batches it would have seen.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plmsae.core.atomic import atomic_folder, write_json
from plmsae.core.errors import InputError
from plmsae.plm.packing import pack_rows
from plmsae.plm.vocabulary import esm2_vocabulary


@dataclass(frozen=True)
class Corpus:
    """Tokenized proteins, end to end.

    Attributes
    ----------
    tokens : ndarray, dtype=uint8, shape=(n_residues,)
        Token ids of ESM-2's vocabulary, without special tokens (memory-mapped).
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
    # The ids of ESM-2 fit a byte each.
    tokenize = esm2_vocabulary().tokenize
    parts = [tokenize(sequence).astype(np.uint8) for sequence in sequences]
    if not parts:
        raise InputError("the corpus holds no proteins", where=folder)
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.concatenate(parts)
    if weights is None:
        weights = np.ones(len(parts))
    if len(weights) != len(parts) or not np.all(weights > 0):
        raise InputError("sampling weights must be positive, one per protein", where=folder)
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
        Token ids; each segment is ``<cls> residues <eos>``, or some residues that fill a row.
    lengths : list of int
        Tokens in each segment; they sum to N, and none crosses a multiple of the stream's `row`.
    """

    ids: NDArray[np.int64]
    lengths: list[int]


class Epoch(NamedTuple):
    """What the rows of an epoch hold.

    Attributes
    ----------
    starts, counts : ndarray, dtype=int64, shape=(S,)
        Where each segment starts in the corpus' tokens, and its residues.
    framed : ndarray, dtype=bool, shape=(S,)
        Whether special tokens stand around it.
    firsts : ndarray, dtype=int64, shape=(R + 1,)
        Where each row starts among the segments, and S.
    """

    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    framed: NDArray[np.bool_]
    firsts: NDArray[np.int64]


class PackedStream:
    """Endless batches of exactly `tokens_per_batch` tokens.

    Within one epoch every protein is drawn once, those of larger weight earlier (weighted sampling
    without replacement by exponential races, Efraimidis & Spirakis 2006). Proteins stand whole in a
    row where they fit, and longer ones give a random window of its length; what no protein of those
    next in line fits, a few residues of another fill.

    Parameters
    ----------
    tokens_per_batch : int
        A multiple of `row`.
    row : int
        Tokens in a row: the longest segment, special tokens included.
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
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)
        # The first row of each epoch met so far: a step far on needs no epoch but its own.
        self._first_rows = [0]

    def _make_epoch(self, epoch: int) -> Epoch:
        rng = np.random.default_rng((self.seed, epoch))
        corpus = self.corpus
        race = rng.exponential(size=corpus.n_proteins) / corpus.weights
        order = np.argsort(race, kind="stable")[: self.draws]
        order = rng.permutation(order)
        lengths = np.diff(corpus.offsets)
        kept = np.minimum(lengths[order], self.row - 2)
        rows = pack_rows((kept + 2).tolist(), self.row)
        starts = corpus.offsets[order] + rng.integers(0, lengths[order] - kept + 1)
        parts: list[tuple[int, int, bool]] = []
        firsts = [0]
        for first, last, left in zip(rows.firsts, rows.firsts[1:], rows.room, strict=False):
            parts += [(int(starts[i]), int(kept[i]), True) for i in rows.order[first:last]]
            room = int(left)
            while room:
                other = int(order[rng.integers(len(order))])
                count = min(room, int(lengths[other]))
                start = corpus.offsets[other] + rng.integers(0, lengths[other] - count + 1)
                parts.append((int(start), count, False))
                room -= count
            firsts.append(len(parts))
        table = np.array(parts, dtype=np.int64)
        return Epoch(table[:, 0], table[:, 1], table[:, 2] == 1, np.array(firsts))

    def _find(self, row: int) -> tuple[int, int]:
        """Return the epoch of a row of the stream, and which of that epoch's rows it is."""
        while self._first_rows[-1] <= row:
            n_rows = len(self._epoch(len(self._first_rows) - 1).firsts) - 1
            self._first_rows.append(self._first_rows[-1] + n_rows)
        epoch = bisect_right(self._first_rows, row) - 1
        return epoch, row - self._first_rows[epoch]

    def batch(self, step: int) -> PackedBatch:
        """Return batch number `step` (0-based)."""
        rows = self.tokens_per_batch // self.row
        pieces: list[NDArray[np.uint8]] = []
        vocabulary = esm2_vocabulary()
        before = np.array(vocabulary.prefix, dtype=np.uint8)
        after = np.array(vocabulary.suffix, dtype=np.uint8)
        for number in range(step * rows, (step + 1) * rows):
            index, place = self._find(number)
            epoch = self._epoch(index)
            for i in range(epoch.firsts[place], epoch.firsts[place + 1]):
                residues = self.corpus.tokens[epoch.starts[i] : epoch.starts[i] + epoch.counts[i]]
                pieces.append(
                    np.concatenate([before, residues, after]) if epoch.framed[i] else residues
                )
        return PackedBatch(
            np.concatenate(pieces).astype(np.int64), [len(piece) for piece in pieces]
        )
