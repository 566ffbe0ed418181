"""The ESM-2 vocabulary: 33 tokens, the same in every checkpoint of the family."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOKENS = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPNKQCFYMHWXBUZO.-", "<null_1>", "<mask>"]

CLS, PAD, EOS, UNK, MASK = 0, 1, 2, 3, 32
#: Ids of the twenty standard amino acids; masking and perplexity are about these only.
STANDARD = tuple(TOKENS.index(letter) for letter in "ACDEFGHIKLMNPQRSTVWY")

_TABLE = np.full(256, UNK, dtype=np.uint8)
for _id, _token in enumerate(TOKENS):
    if len(_token) == 1:
        _TABLE[ord(_token)] = _id


def tokenize(sequence: str) -> NDArray[np.uint8]:
    """Return the token ids of `sequence`, one a residue, without special tokens.

    Letters the vocabulary lacks (``J``) become ``<unk>``; ``U``, ``O``, ``B``, ``Z`` and ``X``
    have tokens of their own.
    """
    return _TABLE[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
