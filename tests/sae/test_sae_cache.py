"""The activation cache: nothing lost, nothing doubled, nothing damaged unnoticed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import islice
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.sae.cache import CacheWriter, check_disk, estimate_bytes
from plmsae.sae.cache_files import read_shards
from plmsae.sae.cached import CachedActivations, CachedLayers
from plmsae.sae.choices import CacheDtype
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.train import Job, train, train_many

D = 4
LAYERS = (2, 6)


def protein(item: int) -> dict[int, Tensor]:
    """Rows that say which item, which residue and which layer they are; all exact in float16."""
    n = 1 + item * 7 % 11
    rows = torch.zeros(n, D)
    rows[:, 0], rows[:, 1] = item, torch.arange(n)
    return {layer: rows + torch.tensor([0, 0, layer, 1]) for layer in LAYERS}


def rows_of(items: Iterable[int], layer: int) -> Tensor:
    return torch.cat([protein(item)[layer] for item in items])


def write(folder: Path, n_items: int = 40, dtype: CacheDtype = "float16") -> Path:
    with CacheWriter(folder, LAYERS, D, dtype=dtype, shard_rows=32) as cache:
        for item in range(n_items):
            if item not in cache.done:
                cache.add(item, protein(item))
    return folder


def sorted_rows(rows: Tensor) -> list[list[float]]:
    return sorted(rows.tolist())


def test_two_writers_do_not_share_a_folder(tmp_path: Path) -> None:
    with CacheWriter(tmp_path, LAYERS, D) as first:
        with pytest.raises(InputError, match="another process is writing"):
            CacheWriter(tmp_path, LAYERS, D)
        first.add(0, protein(0))
    CacheWriter(tmp_path, LAYERS, D).close()


def files(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_every_layer_is_read_as_it_was_written(dtype: CacheDtype, tmp_path: Path) -> None:
    write(tmp_path, dtype=dtype)
    for layer in LAYERS:
        cached = CachedActivations(tmp_path, layer, batch_size=8)
        assert torch.equal(torch.cat(list(cached.chunks(13))), rows_of(range(40), layer))
    assert len(read_shards(tmp_path)) > 3


def test_an_epoch_holds_every_row_once_and_the_next_is_shuffled_otherwise(tmp_path: Path) -> None:
    cached = CachedActivations(write(tmp_path), 6, batch_size=1)
    n = cached.n_rows
    first, second = (torch.cat(list(islice(cached.iter_from(start), n))) for start in (0, n))
    for epoch in (first, second):
        assert sorted_rows(epoch) == sorted_rows(rows_of(range(40), 6))
    assert not torch.equal(first, second)


def test_batches_are_the_same_from_any_step_and_differ_by_seed(tmp_path: Path) -> None:
    write(tmp_path)
    batches = list(islice(CachedActivations(tmp_path, 2, batch_size=32).iter_from(0), 30))
    assert all(b.shape == (32, D) and b.dtype == torch.float32 for b in batches)
    for step in (0, 1, 6, 7, 8, 25):
        again = next(CachedActivations(tmp_path, 2, batch_size=32).iter_from(step))
        assert torch.equal(again, batches[step])
    other = next(CachedActivations(tmp_path, 2, batch_size=32, seed=1).iter_from(0))
    assert not torch.equal(other, batches[0])


def test_a_batch_mixes_proteins_of_all_shards(tmp_path: Path) -> None:
    cached = CachedActivations(write(tmp_path, 200), 2, batch_size=128)
    assert len(next(cached.iter_from(0))[:, 0].unique()) > 70


def test_a_far_step_costs_no_more_than_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = CachedActivations(write(tmp_path), 2, batch_size=32)
    read = 0
    rows = cached.rows

    def counted(places: np.ndarray) -> Tensor:
        nonlocal read
        read += len(places)
        return rows(places)

    monkeypatch.setattr(cached, "rows", counted)
    next(cached.iter_from(10**9))
    assert read == 32


_SCRIPT = """
import sys, time
from pathlib import Path
import test_sae_cache as t
from plmsae.sae.cache import CacheWriter
with CacheWriter(Path(sys.argv[1]), t.LAYERS, t.D, shard_rows=32) as cache:
    for item in range(400):
        if item not in cache.done:
            cache.add(item, t.protein(item))
            time.sleep(float(sys.argv[2]))
"""


def test_a_killed_writer_continues_without_losing_or_doubling_a_residue(tmp_path: Path) -> None:
    here = Path(__file__).resolve()
    paths = [str(here.parents[2]), str(here.parent)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    folder = tmp_path / "killed"

    def start(pause: float) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _SCRIPT, str(folder), str(pause)]
        return subprocess.Popen(command, env=environment)

    victim = start(0.002)
    while len(list(folder.glob("shards/*.json"))) < 9:
        assert victim.poll() is None, "ended before it could be killed"
        time.sleep(0.001)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    with pytest.raises(InputError, match="not complete"):
        CachedActivations(folder, 2)
    (folder / "layer-02" / ".00099.1.tmp.safetensors").write_bytes(b"half a shard")
    assert start(0).wait() == 0
    for layer in LAYERS:
        cached = CachedActivations(folder, layer, batch_size=8)
        assert sorted_rows(torch.cat(list(cached.chunks()))) == sorted_rows(
            rows_of(range(400), layer)
        )
    assert files(folder) == files(write(tmp_path / "straight", 400))


def test_a_shard_without_its_record_is_written_again(tmp_path: Path) -> None:
    """As a kill between a shard's rows and its record leaves it."""
    whole = files(write(tmp_path / "whole"))
    folder = write(tmp_path / "cut")
    info = json.loads((folder / "cache.json").read_text())
    (folder / "cache.json").write_text(json.dumps(info | {"complete": False}))
    last = sorted((folder / "shards").iterdir())[-1]
    last.unlink()
    (folder / "layer-06" / f"{last.stem}.safetensors").write_bytes(b"half")
    assert files(write(folder)) == whole


def test_an_item_added_twice_is_refused(tmp_path: Path) -> None:
    cache = CacheWriter(tmp_path, LAYERS, D, shard_rows=4)
    for item in range(5):
        cache.add(item, protein(item))
    for item in (0, 4):
        with pytest.raises(InputError, match=f"item {item} is in the cache already"):
            cache.add(item, protein(item))


def test_an_item_longer_than_a_shard_gets_one_of_its_own(tmp_path: Path) -> None:
    with CacheWriter(tmp_path, LAYERS, D, shard_rows=4) as cache:
        for item, n in enumerate((2, 9, 3)):
            cache.add(item, {layer: torch.ones(n, D) for layer in LAYERS})
    assert [shard.lengths for shard in read_shards(tmp_path)] == [[2], [9], [3]]


def test_an_item_of_no_rows_counts_as_done(tmp_path: Path) -> None:
    with CacheWriter(tmp_path, [2], D) as cache:
        cache.add(0, {2: torch.zeros(0, D)})
        cache.add(1, {2: torch.ones(3, D)})
    assert cache.done == {0, 1}
    assert CachedActivations(tmp_path, 2, batch_size=1).n_rows == 3


def test_the_writer_keeps_no_hold_of_the_callers_memory(tmp_path: Path) -> None:
    rows = torch.ones(3, D)
    with CacheWriter(tmp_path, [2], D, dtype="float32") as cache:
        cache.add(0, {2: rows})
        rows.zero_()
    assert next(CachedActivations(tmp_path, 2, batch_size=3).chunks()).sum() == 3 * D


@pytest.mark.parametrize(
    ("activations", "message"),
    [
        ({2: torch.ones(3, D)}, "no activations of layer 6"),
        ({2: torch.ones(3, D), 6: torch.ones(3, D + 1)}, r"shape \(n, 4\)"),
        ({2: torch.ones(3, D), 6: torch.ones(2, D)}, "another length"),
        ({2: torch.ones(3, D), 6: torch.full((3, D), 1e6)}, "do not fit float16.*bfloat16"),
        ({2: torch.ones(3, D), 6: torch.full((3, D), torch.nan)}, "not finite"),
    ],
)
def test_activations_that_do_not_fit_are_refused(
    activations: dict[int, Tensor], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        CacheWriter(tmp_path, LAYERS, D).add(0, activations)


def test_a_cache_of_something_else_is_not_continued(tmp_path: Path) -> None:
    CacheWriter(tmp_path, [2], D, source={"plm": "a"}).close()
    for layers, d, source, field in (
        ([2], D, {"plm": "b"}, "source"),
        ([2, 3], D, {"plm": "a"}, "layers"),
        ([2], D + 1, {"plm": "a"}, "d"),
    ):
        with pytest.raises(InputError, match=f"of another kind: {field}"):
            CacheWriter(tmp_path, layers, d, source=source)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("")
    with pytest.raises(InputError, match="not empty"):
        CacheWriter(tmp_path / "other", [2], D)


def test_a_complete_cache_takes_nothing_more(tmp_path: Path) -> None:
    write(tmp_path)
    cache = CacheWriter(tmp_path, LAYERS, D, shard_rows=32)
    assert cache.done == set(range(40))
    with pytest.raises(InputError, match="complete"):
        cache.add(99, protein(99))


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "swap"])
def test_a_damaged_shard_is_named_when_it_is_touched(damage: str, tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "layer-06" / "00002.safetensors"
    whole = path.read_bytes()
    if damage == "flip":
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    elif damage == "truncate":
        path.write_bytes(whole[:-9])
    elif damage == "remove":
        path.unlink()
    else:
        path.write_bytes((tmp_path / "layer-02" / "00002.safetensors").read_bytes())
    cached = CachedActivations(tmp_path, 6, batch_size=8)
    with pytest.raises(InputError, match=r"00002\.safetensors") as caught:
        list(cached.chunks())
    assert "\n" not in str(caught.value)
    list(CachedActivations(tmp_path, 2, batch_size=8).chunks())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("cache.json", {"dtype": "int4"}, "not the description"),
        ("cache.json", {"layers": ["../../x"]}, "not the description"),
        ("cache.json", {"d": 0}, "not the description"),
        ("shards/00001.json", {"lengths": [1]}, "not shard 00001"),
        ("shards/00001.json", {"items": "all"}, "not shard 00001"),
        ("shards/00001.json", {"sha256": {"../x": "0"}}, "not shard 00001"),
    ],
)
def test_a_malformed_description_is_refused(
    name: str, change: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path) / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        CachedActivations(tmp_path, 2, batch_size=8)


def test_a_missing_shard_record_is_noticed(tmp_path: Path) -> None:
    (write(tmp_path) / "shards" / "00001.json").unlink()
    with pytest.raises(InputError, match="not shard 00001"):
        CachedActivations(tmp_path, 2, batch_size=8)


def test_a_layer_or_batch_the_cache_does_not_have_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match="no layer 3; it has 2, 6"):
        CachedActivations(tmp_path, 3)
    with pytest.raises(InputError, match="batch_size"):
        CachedActivations(tmp_path, 2, batch_size=10_000)


@pytest.mark.parametrize("shard_rows", [16, 32, 1000])
def test_the_estimate_is_enough_and_not_far_off_for_a_large_cache(
    shard_rows: int, tmp_path: Path
) -> None:
    items = range(60)
    with CacheWriter(tmp_path, LAYERS, D, shard_rows=shard_rows) as cache:
        for item in items:
            cache.add(item, protein(item))
    used = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    estimate = estimate_bytes(
        cache.n_rows, D, n_layers=2, n_items=len(items), shard_rows=shard_rows
    )
    assert used <= estimate
    million = estimate_bytes(10**6, 320, n_layers=2, n_items=3000)
    assert 1.28e9 < million < 1.29e9


@settings(max_examples=20, deadline=None)
@given(left_out=st.sets(st.integers(0, 45), max_size=30), seed=st.integers(0, 3))
def test_items_left_out_are_as_if_they_were_not_there(left_out: set[int], seed: int) -> None:
    with TemporaryDirectory() as folder:
        write(Path(folder), 40)
        stay = [item for item in range(40) if item not in left_out]
        kept = CachedActivations(Path(folder), 2, batch_size=1, seed=seed, without=left_out)
        expected = rows_of(stay, 2)
        assert kept.n_rows == len(expected)
        assert torch.equal(torch.cat(list(kept.chunks(7))), expected)
        epoch = torch.cat(list(islice(kept.iter_from(0), kept.steps_per_epoch)))
        assert sorted_rows(epoch) == sorted_rows(expected)


def test_leaving_out_everything_leaves_nothing_to_train_on(tmp_path: Path) -> None:
    write(tmp_path, 5)
    with pytest.raises(InputError, match="the cache's 0 rows"):
        CachedActivations(tmp_path, 2, batch_size=1, without=range(5))


def test_too_little_disk_is_said_before_anything_is_written(tmp_path: Path) -> None:
    check_disk(tmp_path / "not" / "there" / "yet", 1)
    with pytest.raises(InputError, match=r"need .* GiB, the disk has"):
        check_disk(tmp_path / "cache", 1 << 60)
    assert list(tmp_path.iterdir()) == []


def test_training_from_a_cache_resumes_bit_for_bit(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    with CacheWriter(tmp_path / "cache", [1], 8, shard_rows=256) as cache:
        for item in range(40):
            cache.add(item, {1: torch.randn(30, 8, generator=generator)})
    source = CachedActivations(tmp_path / "cache", 1, batch_size=128)
    config = SaeConfig(d_in=8, d_sae=32, k=2)
    settings = TrainConfig(steps=30, batch_size=128, checkpoint_minutes=0)
    straight = train(source, config, settings).sae

    def stop(step: int, _: dict[str, float]) -> None:
        if step == 17:
            raise KeyboardInterrupt

    logged = TrainConfig(steps=30, batch_size=128, checkpoint_minutes=0, log_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(source, config, logged, on_metrics=stop, checkpoint_dir=tmp_path / "run")
    resumed = train(source, config, settings, checkpoint_dir=tmp_path / "run", resume=True).sae
    assert torch.equal(straight.W_enc_FD, resumed.W_enc_FD)
    assert torch.equal(straight.b_dec_D, resumed.b_dec_D)


def test_layers_read_together_bring_the_same_residues_each_as_if_alone(tmp_path: Path) -> None:
    write(tmp_path)
    together = next(CachedLayers(tmp_path, LAYERS, batch_size=32, seed=3).iter_from(9))
    for layer in LAYERS:
        alone = CachedActivations(tmp_path, layer, batch_size=32, seed=3)
        assert torch.equal(together[layer], next(alone.iter_from(9)))
    assert torch.equal(together[2][:, :2], together[6][:, :2])
    assert not torch.equal(together[2], together[6])


def test_several_saes_train_on_the_layers_of_one_cache(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    with CacheWriter(tmp_path / "cache", [1, 2], 8) as cache:
        for item in range(20):
            rows = {layer: torch.randn(30, 8, generator=generator) for layer in (1, 2)}
            cache.add(item, rows)
    settings = TrainConfig(steps=10, batch_size=64)
    config = SaeConfig(d_in=8, d_sae=32, k=2)
    jobs = [Job(config, settings, itemgetter(layer)) for layer in (1, 2)]
    both = CachedLayers(tmp_path / "cache", [1, 2], batch_size=64)
    for layer, result in zip((1, 2), train_many(both, jobs), strict=True):
        alone = train(CachedActivations(tmp_path / "cache", layer, batch_size=64), config, settings)
        assert torch.equal(result.sae.W_enc_FD, alone.sae.W_enc_FD)
