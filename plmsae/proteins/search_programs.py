"""Homology searches by programs on the PATH: MMseqs2 and DIAMOND.

MMseqs2: Steinegger & Söding 2017, Nat Biotechnol 35:1026. DIAMOND: Buchfink et al. 2021, Nat
Methods 18:366.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plmsae.core.errors import InputError
from plmsae.proteins.hits import Hits, hits_of

_SENSITIVITY = "7"
"""``-s`` of MMseqs2: below the default of 5.7 homologues of less than 40 % identity are missed."""
_MAX_HITS = "1000"
"""Hits kept for a query: by default MMseqs2 keeps 300 and DIAMOND 25."""


def search_mmseqs(
    queries: Sequence[str], targets: Sequence[str] | None = None, *, evalue: float = 1e-3
) -> Hits:
    """Find homologues with ``mmseqs easy-search``.

    Parameters
    ----------
    queries, targets, evalue
        As for `plmsae.proteins.homology.search_built_in`.

    Raises
    ------
    InputError
        If the program fails.
    """
    with tempfile.TemporaryDirectory(prefix="plmsae-mmseqs-") as text:
        folder = Path(text)
        query, target = _write(folder, queries, targets)
        columns = "query,target,fident,qcov,tcov,evalue,bits"
        _run(
            *("mmseqs", "easy-search", query, target, folder / "hits.tsv", folder / "tmp"),
            *("-s", _SENSITIVITY, "-e", str(evalue), "--max-seqs", _MAX_HITS, "-v", "1"),
            *("--format-output", columns),
        )
        return _read(folder / "hits.tsv", within=targets is None)


def search_diamond(
    queries: Sequence[str], targets: Sequence[str] | None = None, *, evalue: float = 1e-3
) -> Hits:
    """Find homologues with ``diamond blastp --very-sensitive``; see `search_mmseqs`."""
    with tempfile.TemporaryDirectory(prefix="plmsae-diamond-") as text:
        folder = Path(text)
        query, target = _write(folder, queries, targets)
        columns = ("qseqid", "sseqid", "pident", "qcovhsp", "scovhsp", "evalue", "bitscore")
        _run("diamond", "makedb", "--quiet", "--in", target, "--db", folder / "db")
        _run(
            *("diamond", "blastp", "--quiet", "--very-sensitive", "--query", query),
            *("--db", folder / "db", "--out", folder / "hits.tsv", "--evalue", str(evalue)),
            *("--max-target-seqs", _MAX_HITS, "--outfmt", "6", *columns),
        )
        return _read(folder / "hits.tsv", within=targets is None, percent=True)


def _write(
    folder: Path, queries: Sequence[str], targets: Sequence[str] | None
) -> tuple[Path, Path]:
    """Write FASTA files that name each sequence by its index; an empty one is left out."""
    paths: list[Path] = []
    for name, sequences in (("queries", queries), ("targets", targets)):
        if sequences is None:
            paths.append(paths[0])
            continue
        paths.append(folder / f"{name}.fasta")
        records = (f">{at}\n{sequence}\n" for at, sequence in enumerate(sequences) if sequence)
        paths[-1].write_text("".join(records), encoding="ascii")
    return paths[0], paths[1]


def _run(program: str, *arguments: str | Path) -> None:
    command = [shutil.which(program) or program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- our own arguments, no shell
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise InputError(
            f"{program} failed with exit code {done.returncode}",
            value=lines[-1] if lines else "no message",
            hint="use the method 'kmer' instead",
        )


def _read(path: Path, *, within: bool, percent: bool = False) -> Hits:
    text = path.read_text(encoding="ascii")
    rows = np.loadtxt(io.StringIO(text), ndmin=2) if text else np.zeros((0, 7))
    if percent:
        rows[:, 2:5] /= 100
    if within:  # both directions are found: the better one of each pair is kept
        rows[:, :2] = np.sort(rows[:, :2], axis=1)
        rows = rows[rows[:, 0] < rows[:, 1]]
    order = np.lexsort((-rows[:, 6], rows[:, 1], rows[:, 0]))
    rows = rows[order]
    new = np.ones(len(rows), bool)
    new[1:] = (rows[1:, :2] != rows[:-1, :2]).any(axis=1)
    return hits_of(rows[new])
