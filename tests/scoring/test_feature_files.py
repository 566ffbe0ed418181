"""One latent out of what `score --features` keeps, and how much of it is read for that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array
from scoring_fakes import (
    LETTERS,
    FakeBundle,
    FakeEncoder,
    FakeMeta,
    Streaming,
    proteome,
    table,
    write_fasta,
)

from plmsae.core.errors import InputError
from plmsae.scoring import feature_files
from plmsae.scoring.engine import score
from plmsae.scoring.feature_files import cut_by_latent, read_latents
from plmsae.scoring.folder import ScoreFolder
from plmsae.scoring.manifest import Manifest

D_SAE, K = 2048, 32


class SparseEncoder(Streaming):
    """Fires K of many latents at each residue; some latents fire a thousand times more often."""

    def encode(self, sequences: Sequence[str]) -> list[csr_array]:
        rng = np.random.default_rng(sum(map(len, sequences)))
        found = []
        for sequence in sequences:
            n = len(sequence)
            latent = (D_SAE * rng.random((n, K)) ** 4).astype(np.int32)
            rows = np.repeat(np.arange(n), K)
            values = rng.gamma(2.0, size=n * K).astype(np.float32)
            csr = csr_array((values, (rows, latent.ravel())), shape=(n, D_SAE))
            csr.sum_duplicates()
            found.append(csr)
        return found


def run(source: Path, out: Path, **changed: Any) -> Manifest:
    arguments: dict[str, Any] = {
        "bundle": FakeBundle(),
        "encoder": FakeEncoder(),
        "model_uri": "fake/1",
        "part_residues": 400,
        "write_features": True,
    }
    return score(source, out=out, **(arguments | changed))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    run(write_fasta(tmp_path / "in.fasta", proteome()), tmp_path / "out")
    return tmp_path / "out"


def test_files_hold_whole_latents_and_all_of_them() -> None:
    latent_N = np.repeat([1, 2, 5, 6], [3, 10, 2, 2]).astype(np.int32)
    found = list(cut_by_latent(latent_N, 9, file_rows=4))
    assert [(first, last) for first, last, _ in found] == [(0, 2), (3, 6), (7, 8)]
    assert [rows.stop - rows.start for _, _, rows in found] == [13, 4, 0]
    empty = list(cut_by_latent(latent_N[:0], 9, file_rows=4))
    assert empty == [(0, 8, slice(0, 0))]


@pytest.mark.parametrize("file_rows", [50, 10**6])
def test_a_latent_s_rows_are_those_of_the_whole_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_rows: int
) -> None:
    monkeypatch.setattr(feature_files.cut_by_latent, "__defaults__", (file_rows,))
    out = tmp_path / "out"
    manifest = run(write_fasta(tmp_path / "in.fasta", proteome()), out)
    n_files = len(list((out / "features").iterdir()))
    assert (n_files > manifest.n_parts) == (file_rows == 50)
    every = table(out, "features")
    for latents in ([LETTERS.index("W")], [0, 19], range(20)):
        found = pl.DataFrame(pl.from_arrow(read_latents(ScoreFolder(out), list(latents))))
        wanted = every.filter(pl.col("latent").is_in(list(latents)))
        assert found.equals(wanted)
        assert found.height > 0


class Counted:
    """A file that counts the bytes read from it."""

    total = 0

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle

    def read(self, size: int = -1) -> bytes:
        found = self._handle.read(size)
        Counted.total += len(found)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()


def test_a_latent_costs_about_a_thousandth_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    letters = np.array(list(LETTERS))
    proteins = [(f"P{i:05d}", "".join(rng.choice(letters, 400))) for i in range(500)]
    out = tmp_path / "out"
    bundle = FakeBundle(meta=FakeMeta(d_sae=D_SAE), concepts=FakeBundle().concepts[:0])
    manifest = run(
        write_fasta(tmp_path / "in.fasta", proteins),
        out,
        bundle=bundle,
        encoder=SparseEncoder(),
        part_residues=200_000,
    )
    assert manifest.n_parts == 1
    size = sum(path.stat().st_size for path in (out / "features").iterdir())
    opened = ScoreFolder.open
    monkeypatch.setattr(ScoreFolder, "open", lambda self, name: Counted(opened(self, name)))
    counts = np.bincount(table(out, "features")["latent"], minlength=D_SAE)
    shares = []
    for latent in np.argsort(counts)[:: D_SAE // 20]:
        Counted.total = 0
        found = read_latents(ScoreFolder(out), [int(latent)])
        assert found.num_rows == counts[latent]
        # One that fires at every residue is itself more than a thousandth.
        shares.append((Counted.total - 6 * found.num_rows) / size)
    assert 0 < np.median(shares) < 0.0015
    assert max(shares) < 0.004


def test_what_cannot_be_read_is_said_in_one_line(out: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"latents of this model are 0 to 19.*20"):
        read_latents(ScoreFolder(out), [20])
    path = sorted((out / "features").iterdir())[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(InputError, match=r"cannot be read.*run the same score again"):
        read_latents(ScoreFolder(out), [3])
    path.unlink()
    with pytest.raises(InputError, match="files are missing"):
        read_latents(ScoreFolder(out), [3])
    run(tmp_path / "in.fasta", tmp_path / "none", write_features=False)
    with pytest.raises(InputError, match="score with --features"):
        read_latents(ScoreFolder(tmp_path / "none"), [3])
