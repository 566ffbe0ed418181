"""Homology searches: the built-in one, MMseqs2 and DIAMOND behind one function."""

from __future__ import annotations

import random
import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from plmsae.core.errors import InputError
from plmsae.proteins.alignment import align
from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.proteins.search import resolve_method, search
from plmsae.proteins.splits import cluster

INSTALLED = {"kmer": True, **{name: shutil.which(name) for name in ("mmseqs", "diamond")}}
EVERY = [
    pytest.param(name, marks=pytest.mark.skipif(not there, reason=f"{name} is not on the PATH"))
    for name, there in INSTALLED.items()
]


def protein(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(AMINO_ACIDS, k=length))


def mutated(rng: random.Random, sequence: str, identity: float) -> str:
    return "".join(
        letter if rng.random() < identity else rng.choice(AMINO_ACIDS.replace(letter, ""))
        for letter in sequence
    )


@pytest.mark.parametrize("method", EVERY)
def test_every_search_finds_the_same_relatives_with_the_same_identity(method):
    rng = random.Random(0)
    ancestors = [protein(rng, 220) for _ in range(4)]
    sequences = [mutated(rng, a, share) for a in ancestors for share in (1, 0.75, 0.5)]
    hits = search(sequences, method=method)
    pairs = list(zip(hits.query.tolist(), hits.target.tolist(), strict=True))
    assert sorted(pairs) == [
        (3 * f + i, 3 * f + j) for f in range(4) for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    for (i, j), identity, coverage in zip(pairs, hits.identity, hits.coverage, strict=True):
        (best,) = align(sequences[i], [sequences[j]])
        assert identity == pytest.approx(best.identity, abs=0.03)
        assert coverage == pytest.approx(len(best.query_positions) / 220, abs=0.1)
    assert (hits.evalue <= 1e-3).all()


@pytest.mark.parametrize("method", EVERY)
def test_queries_are_searched_in_targets_and_the_best_hit_is_the_nearest(method):
    rng = random.Random(1)
    a, b, stranger = protein(rng, 200), protein(rng, 200), protein(rng, 200)
    targets = [protein(rng, 200), mutated(rng, a, 0.5), mutated(rng, a, 0.8), mutated(rng, b, 0.6)]
    hits = search([a, stranger, b], targets, method=method)
    best = hits.best()
    assert best.query.tolist() == [0, 2]
    assert best.target.tolist() == [2, 3]
    assert (0, 1) in set(zip(hits.query.tolist(), hits.target.tolist(), strict=True))


@pytest.mark.parametrize("method", EVERY)
def test_proteins_rich_in_one_residue_are_no_homologues(method):
    rng = random.Random(4)
    sequences = [
        protein(rng, 100) + "Q" * 60 + protein(rng, 100),
        protein(rng, 150) + "Q" * 60 + protein(rng, 50),
        protein(rng, 90) + "SP" * 40 + protein(rng, 90),
        protein(rng, 20) + "SP" * 40 + protein(rng, 90),
    ]
    assert cluster(sequences, method=method).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("method", EVERY)
def test_nothing_is_found_in_nothing(method):
    for queries, targets in (([], None), (["MK"], []), ([], ["MK"]), (["", "MKL"], ["", "AC"])):
        assert len(search(queries, targets, method=method)) == 0


def test_programs_are_used_where_they_are_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert resolve_method("auto") == "kmer"
    with pytest.raises(InputError, match="MMseqs2 is not on the PATH"):
        resolve_method("mmseqs")
    for name in ("diamond", "mmseqs"):  # the last is preferred
        _program(tmp_path / name, "")
        assert resolve_method("auto") == name
    assert resolve_method("kmer") == "kmer"


def test_a_failing_program_is_one_clear_error(tmp_path, monkeypatch):
    _program(tmp_path / "mmseqs", "import sys; sys.exit('Error: no space')")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"exit code 1 .*no space.*'kmer'"):
        search(["MA" * 20, "KA" * 20], method="mmseqs")


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_result_does_not_depend_on_order():
    rng = random.Random(3)
    ancestors = [protein(rng, 150) for _ in range(6)]
    sequences = [mutated(rng, rng.choice(ancestors), 0.7) for _ in range(30)]
    order = rng.sample(range(30), 30)
    here = search(sequences, method="kmer")
    there = search([sequences[at] for at in order], method="kmer")
    pairs = {tuple(sorted((order[i], order[j]))) for i, j in zip(there.query, there.target,
                                                                strict=True)}  # fmt: skip
    assert pairs == set(zip(here.query.tolist(), here.target.tolist(), strict=True))
    assert np.all(np.diff(here.query) >= 0)
