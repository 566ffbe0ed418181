"""The homology search that everything uses: MMseqs2 or DIAMOND where installed, else built in."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from plmsae.core.errors import InputError
from plmsae.proteins.hits import Hits, hits_of
from plmsae.proteins.homology import search_built_in
from plmsae.proteins.search_programs import search_diamond, search_mmseqs

Method = Literal["auto", "mmseqs", "diamond", "kmer"]
Searcher = Literal["mmseqs", "diamond", "kmer"]

_SHORT = 30
"""The programs refuse files in which no sequence is longer than some 14 or 20 residues."""
_NAMES = {"mmseqs": "MMseqs2", "diamond": "DIAMOND", "kmer": "built-in"}


def resolve_method(method: Method) -> Searcher:
    """Return what ``auto`` stands for here: MMseqs2, else DIAMOND, else the built-in search.

    Raises
    ------
    InputError
        If a program is asked for by name and is not on the PATH.
    """
    if method == "auto":
        programs: tuple[Searcher, ...] = ("mmseqs", "diamond")
        return next((name for name in programs if shutil.which(name)), "kmer")
    if method != "kmer" and shutil.which(method) is None:
        raise InputError(
            f"{_NAMES[method]} is not on the PATH", where="method", hint="install it, or use 'kmer'"
        )
    return method


def describe_method(method: Method) -> str:
    """Return the name of the search that `method` stands for here."""
    return _NAMES[resolve_method(method)]


def search(
    queries: Sequence[str],
    targets: Sequence[str] | None = None,
    *,
    method: Method = "auto",
    evalue: float = 1e-3,
) -> Hits:
    """Find the homologues of proteins among others, or among themselves.

    Parameters
    ----------
    queries, targets : sequence of str
        Upper-case amino-acid letters. Without targets the queries are searched in themselves, each
        pair once, ``query < target``.
    method : {"auto", "mmseqs", "diamond", "kmer"}
        MMseqs2; DIAMOND; the built-in search (`plmsae.proteins.homology`); or the first that there
        is.

    Raises
    ------
    InputError
        If a program is asked for and missing, or fails.
    """
    which = resolve_method(method)
    sides = (queries, queries if targets is None else targets)
    if not all(sides):
        return hits_of(np.zeros((0, 7)))
    if min(max(map(len, side)) for side in sides) < _SHORT:
        which = "kmer"
    if targets is None:
        return _search_within(tuple(queries), which, evalue)
    return _SEARCHERS[which](queries, targets, evalue=evalue)


@lru_cache(maxsize=1)
def _search_within(sequences: tuple[str, ...], method: Searcher, evalue: float) -> Hits:
    # Clusters, and what relatives say of gaps, ask for the same search of one table.
    return _SEARCHERS[method](sequences, evalue=evalue)


_SEARCHERS = {"mmseqs": search_mmseqs, "diamond": search_diamond, "kmer": search_built_in}
