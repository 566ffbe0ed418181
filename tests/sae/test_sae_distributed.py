"""Two processes that each take half of every batch train the SAE that one would.

Equal up to rounding: sums are added in another order, and Adam divides by the size of a gradient,
so that a difference in a gradient's last digits is one in a weight's. With activations of unit mean
square, weights near 0.25 and 40 steps of 1e-3, the tolerance is 2e-4.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from sae_planted import Planted
from safetensors.torch import load_file, save_file

from plmsae.core.errors import InputError
from plmsae.sae.checkpoints import latest_checkpoint
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.distributed import Place, ShareOfBatches, joined, rank, share_of, world
from plmsae.sae.train import train

STEPS, BATCH, TOLERANCE = 40, 256, 2e-4


class Pairs:
    """What a transcoder is given: a batch, and a function of it."""

    def __init__(self, planted: Planted) -> None:
        self.planted = planted

    def iter_from(self, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for x in self.planted.iter_from(step):
            yield x, torch.relu(x).roll(1, dims=1)


def settings(**changes: Any) -> TrainConfig:
    fields = {"steps": STEPS, "batch_size": BATCH, "lr": 1e-3, "scale_batches": 4, "log_every": 10}
    return TrainConfig(**(fields | changes))


def a_process(
    number: int, port: int, folder: str, jobs: list[SaeConfig], crash_at: int | None, resume: bool
) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "RANK": str(number),
        "LOCAL_RANK": str(number),
    }
    with joined() as place:
        assert (place.rank, place.world) == (rank(), world()) == (number, 2)
        for i, config in enumerate(jobs):
            logged: list[int] = []

            def log(step: int, _: dict[str, float], seen: list[int] = logged) -> None:
                seen.append(step)
                if step == crash_at:
                    raise ZeroDivisionError

            planted = Planted(batch_size=BATCH)
            root = Path(folder) / f"job-{i}"
            result = train(
                ShareOfBatches(Pairs(planted) if config.is_transcoder else planted),
                config,
                share_of(settings(checkpoint_minutes=0), place),
                on_metrics=log,
                checkpoint_dir=root / "checkpoints",
                resume=resume,
            )
            assert logged == ([] if number else [30, 40] if resume else [10, 20, 30, 40])
            tensors = {n: t.contiguous() for n, t in result.sae.state_dict().items()}
            save_file(tensors, root / f"rank-{number}.safetensors")
    # A thread of the group that outlives it can abort the process at its end.
    assert not any("gloo" in name for name in threads())


def threads() -> list[str]:
    tasks = Path("/proc/self/task")
    return [(task / "comm").read_text() for task in tasks.iterdir()] if tasks.exists() else []


def run_two(
    folder: Path, jobs: list[SaeConfig], *, crash_at: int | None = None, resume: bool = False
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for i in range(len(jobs)):
        (folder / f"job-{i}").mkdir(exist_ok=True)
    mp.spawn(a_process, (port, str(folder), jobs, crash_at, resume), nprocs=2)


JOBS = {
    "topk": SaeConfig(arch="topk", d_in=16, d_sae=32, k=2),
    "topk-layer-norm": SaeConfig(arch="topk", d_in=16, d_sae=32, k=2, input_norm="layer_norm"),
    "hierarchical": SaeConfig(arch="hierarchical", d_in=16, d_sae=32, k=4),
    "transcoder": SaeConfig(arch="topk", d_in=16, d_sae=32, k=2, target="change"),
    "batchtopk": SaeConfig(arch="batchtopk", d_in=16, d_sae=32, k=2),
    "matryoshka": SaeConfig(arch="matryoshka", d_in=16, d_sae=32, k=2),
    "relu": SaeConfig(arch="relu", d_in=16, d_sae=32, k=2),
    "jumprelu": SaeConfig(arch="jumprelu", d_in=16, d_sae=32, k=2),
}
EXACT = ("topk", "topk-layer-norm", "hierarchical", "transcoder")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    run_two(folder, list(JOBS.values()))
    return folder


def weights(folder: Path, name: str, number: int) -> dict[str, torch.Tensor]:
    return load_file(folder / f"job-{list(JOBS).index(name)}" / f"rank-{number}.safetensors")


@pytest.mark.parametrize("name", JOBS)
def test_both_processes_end_with_the_same_weights(name: str, two: Path) -> None:
    first, second = weights(two, name, 0), weights(two, name, 1)
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key


@pytest.mark.parametrize("name", EXACT)
def test_two_processes_equal_one_with_the_same_global_batch(name: str, two: Path) -> None:
    planted = Planted(batch_size=BATCH)
    batches = Pairs(planted) if JOBS[name].is_transcoder else planted
    one = train(batches, JOBS[name], settings()).sae.state_dict()
    found = weights(two, name, 0)
    start = train(batches, JOBS[name], settings(steps=1)).sae.state_dict()
    for key in ("W_enc_FD", "W_dec_FD"):
        assert (one[key] - found[key]).abs().max() < TOLERANCE, key
        # It has moved by far more than that.
        assert (one[key] - start[key]).abs().max() > 50 * TOLERANCE
    for key in ("b_enc_F", "b_dec_D"):
        # In the unit of the raw activations, whose root mean square here is above 3.
        assert (one[key] - found[key]).abs().max() < 10 * TOLERANCE, key


@pytest.mark.parametrize("name", [n for n in JOBS if n not in EXACT])
def test_architectures_that_choose_within_a_process_come_close(name: str, two: Path) -> None:
    one = train(Planted(batch_size=BATCH), JOBS[name], settings()).sae.state_dict()
    found = weights(two, name, 0)
    cosine = torch.nn.functional.cosine_similarity(one["W_dec_FD"], found["W_dec_FD"])
    assert cosine.mean() > 0.995
    for key in {"penalty", "threshold"} & one.keys():
        assert found[key] == pytest.approx(one[key].item(), rel=0.05), key


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jumprelu"])
def test_two_processes_of_which_one_crashed_resume_bit_for_bit(
    name: str, two: Path, tmp_path: Path
) -> None:
    with pytest.raises(mp.ProcessRaisedException):
        run_two(tmp_path, [JOBS[name]], crash_at=30)
    checkpoint = latest_checkpoint(tmp_path / "job-0" / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.name == "step-000000029"
    run_two(tmp_path, [JOBS[name]], resume=True)
    for number in (0, 1):
        resumed = load_file(tmp_path / "job-0" / f"rank-{number}.safetensors")
        straight = weights(two, name, number)
        assert all(torch.equal(resumed[key], straight[key]) for key in straight)


def test_alone_nothing_is_shared(planted: Planted) -> None:
    with joined() as place:
        assert place == Place(0, 1, "auto")
        assert (rank(), world()) == (0, 1)
        assert share_of(settings(), place) == settings()
    assert torch.equal(next(ShareOfBatches(planted).iter_from(3)), planted.batch(3))


def test_a_share_keeps_the_steps_and_divides_the_batch() -> None:
    share = share_of(settings(steps=None, n_vectors=10_000), Place(1, 4, "cuda:1"))
    assert (share.total_steps, share.batch_size, share.device) == (10_000 // BATCH, 64, "cuda:1")
    with pytest.raises(InputError, match=r"multiple of the number of processes \(3\)"):
        share_of(settings(), Place(0, 3, "cpu"))
