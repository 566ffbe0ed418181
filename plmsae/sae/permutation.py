"""A shuffled order of N things any part of which is computed directly, without memory.

A Feistel network permutes the numbers below a power of two by mixing halves of their bits;
numbers that land at N or above are sent through again until they land below (Black & Rogaway 2002,
"Ciphers with arbitrary finite domains", section 3, cycle-walking).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8
_MASK = (1 << 64) - 1


class Permutation:
    """A pseudo-random permutation of 0 … n - 1, the same for the same key.

    Parameters
    ----------
    n : int
        How many, at least 1.
    key : tuple of int
        For example (seed, epoch).
    """

    def __init__(self, n: int, key: tuple[int, ...]) -> None:
        if n < 1:
            raise ValueError(f"n must be positive, not {n}")
        self.n = n
        bits = max(2, (n - 1).bit_length())
        self._low = bits // 2
        self._high = bits - self._low
        self._keys = np.random.default_rng([k & _MASK for k in key]).integers(
            0, 1 << 64, size=_ROUNDS, dtype=np.uint64
        )

    def __call__(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return what stands at the places ``start:stop`` of the shuffled order."""
        if not 0 <= start <= stop <= self.n:
            raise ValueError(f"no places {start}:{stop} among {self.n}")
        values = self._mix(np.arange(start, stop, dtype=np.uint64))
        while (outside := values >= self.n).any():
            values[outside] = self._mix(values[outside])
        return values.astype(np.int64)

    def _mix(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low, high = self._low, self._high
        for key in self._keys:
            # The halves change places each round; after an even number they are back.
            left = values >> np.uint64(low)
            right = values & np.uint64((1 << low) - 1)
            left ^= _scramble(right + key) & np.uint64((1 << high) - 1)
            values = (right << np.uint64(high)) | left
            low, high = high, low
        return values


def _scramble(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finish as splitmix64 does: every bit of the result depends on every bit of x."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
