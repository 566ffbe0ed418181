"""A model small enough to check by hand: one latent an amino acid, firing with its neighbours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.calling.callers import Callers
from plmsae.core.errors import InputError

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
TOO_LONG = 3_000


@dataclass(frozen=True, kw_only=True)
class FakeMeta:
    plm: str = "fake-plm"
    plm_revision: str = "abc"
    plm_vocabulary: str = ""
    layer: int = 2
    unit: str = "residue"
    d_sae: int = len(LETTERS)
    min_precision: float = 0.0
    extra: dict[str, str | float | int | bool | None] = field(default_factory=dict)


def concept_rows(*rows: tuple[str, str, str, float | None, float | None]) -> pl.DataFrame:
    """Concept, kind, letter, precision, precision_low."""
    return pl.DataFrame(
        {
            "concept": [row[0] for row in rows],
            "kind": [row[1] for row in rows],
            "call_latent": [LETTERS.index(row[2]) for row in rows],
            "call_threshold": [0.15] * len(rows),
            "call_precision": [row[3] for row in rows],
            "call_precision_low": [row[4] for row in rows],
            "call_precision_high": [None if row[3] is None else (1 + row[3]) / 2 for row in rows],
            "n_calls": [100] * len(rows),
            "min_length": [1] * len(rows),
            "max_gap": [1 if row[1] == "span" else 0 for row in rows],
        },
        schema_overrides={
            "call_latent": pl.Int32,
            "call_precision": pl.Float64,
            "call_precision_low": pl.Float64,
            "call_precision_high": pl.Float64,
            "min_length": pl.Int32,
            "max_gap": pl.Int32,
        },
    )


CONCEPTS = concept_rows(
    ("Domain: W-rich", "span", "W", 0.95, 0.9),
    ("Domain", "span", "W", 0.8, 0.7),
    ("Binding site: ATP", "site", "K", 0.6, 0.5),
    ("Active site", "site", "H", None, None),
    ("Coiled coil", "span", "L", 0.9, 0.85),
    ("Coiled coil", "span", "E", 0.7, 0.6),
)


@dataclass(frozen=True, kw_only=True)
class FakeBundle:
    path: Path = Path("bundle")
    meta: FakeMeta = field(default_factory=FakeMeta)
    concepts: pl.DataFrame = field(default_factory=lambda: CONCEPTS)
    callers: Callers = field(default_factory=Callers)

    @property
    def digest(self) -> str:
        text = f"{self.meta} {json.dumps(self.concepts.to_dicts())} {self.callers}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def features(self) -> pl.DataFrame:
        letters = len(LETTERS)
        return pl.DataFrame({"latent": range(letters), "max_activation": [3.0] * letters})


class Streaming:
    """What an encoder of all sequences at once lacks."""

    def stream(self, sequences: Sequence[str]) -> Iterator[tuple[int, csr_array]]:
        yield from enumerate(self.encode(sequences))  # type: ignore[attr-defined]


@dataclass
class FakeEncoder(Streaming):
    """Refuses sequences that hold a Z, runs out of memory over `TOO_LONG`, and counts its calls."""

    unit: str = "residue"
    calls: int = 0
    encoded: list[str] = field(default_factory=list)

    def encode(self, sequences: Sequence[str]) -> list[csr_array]:
        self.calls += 1
        for sequence in sequences:
            if "Z" in sequence:
                raise InputError("the vocabulary lacks Z")
            if len(sequence) > TOO_LONG:
                raise MemoryError
        self.encoded += sequences
        return [encode_one(sequence, self.unit) for sequence in sequences]


def encode_one(sequence: str, unit: str = "residue") -> csr_array:
    """Latent of a residue's letter = 1 + how many of its two neighbours have the same letter."""
    dense_NF = np.zeros((len(sequence), len(LETTERS)), dtype=np.float32)
    for i, letter in enumerate(sequence):
        if letter in LETTERS:
            around = sequence[max(0, i - 1) : i] + sequence[i + 1 : i + 2]
            dense_NF[i, LETTERS.index(letter)] = 1 + around.count(letter)
    if unit == "protein":
        dense_NF = dense_NF.mean(axis=0, keepdims=True)
    return csr_array(dense_NF)


def random_sequence(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(list(LETTERS), size=length))


def write_fasta(path: Path, proteins: Iterable[tuple[str, str]]) -> Path:
    path.write_text("".join(f">{name} x\n{sequence}\n" for name, sequence in proteins))
    return path


def proteome(n: int = 30, seed: int = 0, bad: bool = True) -> list[tuple[str, str]]:
    """Random proteins; one in ten cannot be read, one in ten cannot be encoded."""
    rng = np.random.default_rng(seed)
    proteins = []
    for i in range(n):
        sequence = random_sequence(rng, int(rng.integers(5, 120)))
        if bad and i % 10 == 3:
            sequence = sequence[:2] + "-" + sequence[2:]
        if bad and i % 10 == 7:
            sequence += "Z"
        proteins.append((f"P{i:05d}", sequence))
    return proteins


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a score folder but the lock and the times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "timing.json")
    }


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((folder / name).glob("*.parquet"))])
