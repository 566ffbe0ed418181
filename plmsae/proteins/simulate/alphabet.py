"""The twenty amino acids, how often Swiss-Prot uses them, and what each kind of site prefers."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Ints = NDArray[np.int8]

ALPHABET = "ARNDCQEGHILKMFPSTWYV"
INDEX = {letter: index for index, letter in enumerate(ALPHABET)}

_PERCENT = (
    # Amino-acid composition of UniProtKB/Swiss-Prot as its release statistics print it, in the
    # order of ALPHABET.
    *(8.25, 5.53, 4.06, 5.46, 1.38, 3.93, 6.71, 7.07, 2.27, 5.91),
    *(9.64, 5.79, 2.41, 3.86, 4.74, 6.65, 5.36, 1.10, 2.92, 6.85),
)
BACKGROUND: Float = np.array(_PERCENT) / sum(_PERCENT)
BACKGROUND.setflags(write=False)

# How much more (or less) than the background each kind of site likes an amino acid. Propensities
# after Chou and Fasman (1978) for helix, strand and turn, rounded; the other rows say in numbers
# what textbooks say in words. Letters not named keep a factor of 1.
_FACTORS: dict[str, tuple[tuple[str, float], ...]] = {
    "any": (),
    "helix_core": (("LMIVF", 4.0), ("AWYC", 2.0), ("GPDNKERSTQH", 0.12)),
    "helix_surface": (("EKQR", 2.4), ("AMDSLNH", 1.2), ("GYTW", 0.7), ("PCFIV", 0.2)),
    "strand_core": (("VIFYLW", 4.0), ("TCMA", 1.5), ("GPDNKEQRSH", 0.12)),
    "strand_surface": (("TVKRSYIQHW", 1.8), ("PGDN", 0.4), ("MCA", 0.6)),
    "turn": (("GNPDS", 3.2), ("HY", 1.5), ("AILVMFWC", 0.25)),
    "loop": (("GPSNDTKHY", 1.6), ("ACM", 0.6), ("ILV", 0.7)),
    "disordered": (("SPEKQGTNDR", 1.6), ("HA", 1.0), ("ILVMFY", 0.4), ("WC", 0.25)),
    "inside": (("KR", 3.5), ("SQNGHTP", 1.2), ("DE", 0.35), ("ILVMFWYC", 0.3)),
    "outside": (("NSTDEGQP", 1.8), ("KR", 0.35), ("ILVMFWC", 0.3)),
}


@cache
def class_profile(name: str) -> Float:
    """Return the amino-acid distribution of a kind of site; shape (20,), sums to 1, read-only.

    Parameters
    ----------
    name : str
        Such as ``helix_core`` or ``disordered``.
    """
    weights = BACKGROUND.copy()
    for letters, factor in _FACTORS[name]:
        weights[[INDEX[letter] for letter in letters]] *= factor
    weights /= weights.sum()
    weights.setflags(write=False)
    return weights


_LETTERS = np.frombuffer(ALPHABET.encode("ascii"), dtype=np.uint8)


def decode(residues: Ints) -> str:
    """Return the letters of an array of indices in `ALPHABET`."""
    return _LETTERS[residues].tobytes().decode("ascii")


def sample(profile: Float, rng: np.random.Generator) -> Ints:
    """Draw one amino acid a row.

    Parameters
    ----------
    profile : ndarray, shape (L, 20)
        A distribution a row.

    Returns
    -------
    ndarray, shape (L,), dtype=int8
        Never a letter of probability zero.
    """
    cumulative = np.cumsum(profile, axis=1)
    # Scaling by the last sum keeps rounding from ever reaching a letter past the last allowed one.
    draws = rng.random(len(profile))[:, None] * cumulative[:, -1:]
    chosen: Ints = (cumulative <= draws).sum(axis=1).astype(np.int8)
    return chosen
