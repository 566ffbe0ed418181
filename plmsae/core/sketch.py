"""A small sample of a set of sequences by their hashes, to tell later which others are among them.

The bottom-k sketch of Broder (On the resemblance and containment of documents, 1997): of the hashes
of all sequences the `SIZE` lowest are kept. Whether a sequence with a hash below the highest kept
one was in the set can so be told for certain, and such sequences are a random sample of any set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

SIZE = 256
"""Hashes that are kept; all of a smaller set."""
SELECT_SKETCH = "select_sketch"
"""Name in a bundle's `extra` of the sketch of the proteins on which its concepts were chosen."""
_DIGITS = 12  # 48 bits: two of a million sequences share a hash once in 500 sets


def sketch_of(sequences: Iterable[str]) -> str:
    """Return the sketch of a set of sequences, as text."""
    return " ".join(sorted({_hash(sequence) for sequence in sequences})[:SIZE])


def found_in_sketch(sketch: str, sequences: Iterable[str]) -> tuple[int, int]:
    """Look sequences up in the sketch of a set.

    Returns
    -------
    n_found, n_looked_up : int
        Of the sequences that the sketch can tell of, how many are in the set, and how many these
        are: all, if the set is small.
    """
    kept = sketch.split()
    highest = kept[-1] if len(kept) >= SIZE else "g"  # above all hexadecimal digits
    told = [value for value in map(_hash, sequences) if value <= highest]
    return len(set(kept).intersection(told)), len(set(told))


def _hash(sequence: str) -> str:
    return hashlib.sha256(sequence.encode()).hexdigest()[:_DIGITS]
