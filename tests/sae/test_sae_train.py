"""Training: it learns, it says what it does, and a killed run ends as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_planted import Planted

from plmsae.core.errors import InputError
from plmsae.sae.architecture import ARCHITECTURES
from plmsae.sae.checkpoints import latest_checkpoint
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.evaluate import evaluate_sae
from plmsae.sae.model import Sae, build_sae, load_sae
from plmsae.sae.scaling import measure_scaling
from plmsae.sae.train import Job, train, train_many
from plmsae.sae.trainer import Trainer

METRICS = {
    "fvu",
    "explained_variance",
    "loss",
    "l0",
    "dead_share",
    "lr",
    "gamma",
    "activation_scale",
    "vectors_per_second",
    "stall_share",
}


class BrokenOffError(Exception):
    """Stands for whatever ends a run."""


def config(arch: str = "topk") -> SaeConfig:
    return SaeConfig(arch=arch, d_in=16, d_sae=32, k=2)


def same_weights(a: Sae, b: Sae) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_planted_features_far_off_centre_are_recovered(arch: str, device: str) -> None:
    planted = Planted(gamma=10.0)
    settings = TrainConfig(steps=1600, batch_size=256, device=device)
    sae = train(planted, config(arch), settings).sae
    found = evaluate_sae(sae, [planted.batch(10**6 + i) for i in range(8)])
    nearest = (planted.features @ sae.W_dec_FD.detach().t()).amax(dim=1)
    # The first few of nested latents must each stand for several features.
    assert (nearest > 0.9).float().mean() > (0.4 if arch == "matryoshka" else 0.95)
    # An L1 penalty shrinks what it keeps; a row may have more than two features.
    most = {"relu": 0.4, "batchtopk": 0.08, "jumprelu": 0.08}.get(arch, 0.2)
    assert found["fvu"] < most
    assert found["l0"] == pytest.approx(2, rel=0.08)
    assert torch.allclose(sae.W_dec_FD.norm(dim=1), torch.ones(32), atol=1e-5)


def test_an_sae_does_not_begin_at_the_planted_features() -> None:
    # Both are drawn from a seed: features found after no training at all would prove nothing.
    planted = Planted()
    start = build_sae(config(), seed=planted.seed).W_dec_FD.detach()
    assert (planted.features @ start.t()).amax() < 0.9


def test_metrics_are_reported_every_so_many_steps_and_after_the_last(planted: Planted) -> None:
    calls = []
    settings = TrainConfig(steps=25, batch_size=256, log_every=10)
    result = train(planted, config(), settings, on_metrics=lambda *call: calls.append(call))
    assert [step for step, _ in calls] == [10, 20, 25]
    assert all(set(metrics) == METRICS for _, metrics in calls)
    assert result.metrics == calls[-1][1]
    assert result.steps == 25
    # The planted offset, γ, and the scale are measured from the data.
    measured = evaluate_sae(result.sae, [planted.batch(i) for i in range(16)])
    for name in ("gamma", "activation_scale"):
        assert result.metrics[name] == pytest.approx(measured[name], rel=1e-3)


def test_dead_latents_come_back_to_life() -> None:
    planted = Planted(n_features=48)  # More than latents: there is work for each of them.

    def dead_share_after(coefficient: float) -> float:
        settings = TrainConfig(
            steps=600,
            batch_size=256,
            lr=1e-2,
            auxk_coefficient=coefficient,
            dead_window_share=0.05,
        )
        scaling = measure_scaling([planted.batch(i) for i in range(8)])
        trainer = Trainer(config(), settings, scaling, torch.device("cpu"))
        with torch.no_grad():
            trainer.sae.b_enc_F[8:] = -5.0
        for i in range(600):
            trainer.step(planted.batch(i))
        return trainer.dead_share

    assert dead_share_after(0.0) > 0.5
    assert dead_share_after(1.0) < 0.25


def test_a_rare_latent_is_not_taken_for_dead_after_a_silence_of_one_hundredth() -> None:
    # Revival would pull it off what it stands for (docs/benchmarks.md shows what it costs).
    settings = TrainConfig(steps=100, batch_size=256, lr=1e-9)
    planted = Planted()
    trainer = Trainer(config(), settings, measure_scaling([planted.batch(0)]), torch.device("cpu"))
    with torch.no_grad():
        trainer.sae.b_enc_F[0] = -50.0
    shares = []
    for i in range(2):
        trainer.step(planted.batch(i))
        shares.append(trainer.dead_share)
    assert shares[0] == 0
    assert shares[1] >= 1 / trainer.config.d_sae


@pytest.mark.parametrize("arch", ["batchtopk", "matryoshka", "jumprelu"])
def test_every_row_keeps_k_at_first_and_as_many_as_it_needs_later(
    arch: str, planted: Planted
) -> None:
    settings = TrainConfig(steps=40, batch_size=256, per_row_share=0.25)
    scaling = measure_scaling([planted.batch(0)])
    trainer = Trainer(config(arch), settings, scaling, torch.device("cpu"))
    for i in range(40):
        result, _ = trainer.step(planted.batch(i))
        counts = result.code.offsets.diff()
        if i < 10:
            assert (counts == 2).all(), i
        else:
            assert counts.unique().numel() > 1, i
        if i == 10:
            # It goes on as sparse as it was, and not from thresholds that nothing has fitted.
            n_active = float((result.code.values > 0).sum() / 256)
            assert n_active == pytest.approx(2, rel=0.02)


def test_a_run_without_k_has_no_part_in_which_rows_keep_k(planted: Planted) -> None:
    made = SaeConfig(arch="jumprelu", d_in=16, d_sae=32, k=None)
    settings = TrainConfig(steps=10, batch_size=256, sparsity_coefficient=0.25)
    scaling = measure_scaling([planted.batch(0)])
    trainer = Trainer(made, settings, scaling, torch.device("cpu"))
    result, _ = trainer.step(planted.batch(0))
    assert not trainer.sae.per_row
    assert result.code.offsets.diff().unique().numel() > 1


def test_thresholds_that_rose_out_of_reach_come_back(planted: Planted) -> None:
    def dead_share_after(coefficient: float) -> float:
        settings = TrainConfig(steps=400, batch_size=256, auxk_coefficient=coefficient)
        scaling = measure_scaling([planted.batch(0)])
        trainer = Trainer(config("jumprelu"), settings, scaling, torch.device("cpu"))
        for i in range(400):
            trainer.step(planted.batch(i))
            if i == 200:
                with torch.no_grad():
                    trainer.sae.log_threshold_F[:16] = 5.0
        return trainer.dead_share

    assert dead_share_after(0.0) >= 0.5
    assert dead_share_after(1.0) < 0.2


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_run_broken_off_and_resumed_has_the_same_weights_bit_for_bit(
    arch: str, device: str, planted: Planted, tmp_path: Path
) -> None:
    settings = TrainConfig(
        steps=60, batch_size=256, checkpoint_minutes=0, log_every=1, device=device
    )
    straight = train(planted, config(arch), settings)

    def run_until(stop: int) -> None:
        def break_off(step: int, metrics: dict[str, float]) -> None:
            if step == stop:
                raise BrokenOffError

        with pytest.raises(BrokenOffError):
            train(
                planted,
                config(arch),
                settings,
                on_metrics=break_off,
                checkpoint_dir=tmp_path,
                resume=True,
            )

    run_until(1)
    assert latest_checkpoint(tmp_path) is None
    for stop in (17, 43):
        run_until(stop)
        assert latest_checkpoint(tmp_path) == tmp_path / f"step-{stop - 1:09d}"
    resumed = train(planted, config(arch), settings, checkpoint_dir=tmp_path, resume=True)
    assert same_weights(resumed.sae, straight.sae)


def test_a_killed_process_resumes_to_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from sae_planted import Planted
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.scaling import measure_scaling
from plmsae.sae.train import train
from plmsae.sae.trainer import Trainer
result = train(
    Planted(), SaeConfig(arch="batchtopk", d_in=16, d_sae=32, k=2),
    TrainConfig(steps=100, batch_size=256, checkpoint_minutes=0.001),
    checkpoint_dir=Path(sys.argv[1]), resume=True,
)
result.sae.save(Path(sys.argv[2]))
"""
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}

    def start(checkpoints: str, out: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", script, str(tmp_path / checkpoints), str(tmp_path / out)]
        return subprocess.Popen(command, env=environment)

    assert start("straight", "straight-sae").wait() == 0
    victim = start("killed", "killed-sae")
    while (
        newest := latest_checkpoint(tmp_path / "killed")
    ) is None or newest.name < "step-000000020":
        assert victim.poll() is None, "ended before it could be killed"
        time.sleep(0.005)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not (tmp_path / "killed-sae").exists()
    assert start("killed", "killed-sae").wait() == 0
    assert same_weights(load_sae(tmp_path / "killed-sae"), load_sae(tmp_path / "straight-sae"))
    assert [p.name for p in (tmp_path / "killed").iterdir()] == ["step-000000100"]


def pairs(planted: Planted, n: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches, and what a linear layer adding a rotation makes of them."""
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(1))).Q
    batches = [planted.batch(i) for i in range(n)]
    return [(x, x + 5 * x @ rotation) for x in batches]


@pytest.mark.parametrize("target", ["layer", "change"])
def test_a_transcoder_learns_what_a_layer_does(target: str, planted: Planted) -> None:
    settings = TrainConfig(steps=500, batch_size=256)
    batches = pairs(planted, 100)
    made = SaeConfig(arch="batchtopk", d_in=16, d_sae=32, k=2, target=target)
    sae = train(batches, made, settings).sae
    x, y = batches[0]
    wanted = y - x if target == "change" else y
    error = (sae.reconstruct(x) - wanted).square().sum()
    fvu = float(error / (wanted - wanted.mean(dim=0)).square().sum())
    assert fvu < 0.35
    assert evaluate_sae(sae, [(x, y)])["fvu"] == pytest.approx(fvu, rel=1e-4)


def test_a_transcoder_broken_off_resumes_bit_for_bit(planted: Planted, tmp_path: Path) -> None:
    made = SaeConfig(d_in=16, d_sae=32, k=2, target="change")
    batches = pairs(planted, 40)
    settings = TrainConfig(steps=40, batch_size=256, checkpoint_minutes=0)
    straight = train(batches, made, settings)
    with pytest.raises(InputError, match="ended after 25"):
        train(iter(batches[:25]), made, settings, checkpoint_dir=tmp_path)
    resumed = train(batches, made, settings, checkpoint_dir=tmp_path, resume=True)
    assert same_weights(resumed.sae, straight.sae)


@pytest.mark.parametrize(
    ("target", "batch", "message"),
    [
        ("layer", torch.randn(8, 16), "needs pairs"),
        ("layer", (torch.randn(8, 16), torch.randn(7, 16)), "as many rows"),
        ("layer", (torch.randn(8, 16), torch.randn(8, 5)), r"target batches .* \(n, 16\)"),
        ("input", (torch.randn(8, 16), torch.randn(8, 16)), "not pairs"),
    ],
)
def test_batches_of_the_wrong_kind_are_refused(
    target: str, batch: torch.Tensor | tuple[torch.Tensor, torch.Tensor], message: str
) -> None:
    made = SaeConfig(d_in=16, d_sae=32, k=2, target=target)
    with pytest.raises(InputError, match=message):
        train([batch], made, TrainConfig(steps=3, batch_size=8))


def test_several_saes_in_one_pass_are_what_each_alone_would_be(planted: Planted) -> None:
    jobs = [
        (config("topk"), TrainConfig(steps=40, batch_size=256, seed=1)),
        (config("batchtopk"), TrainConfig(steps=25, batch_size=256, scale_batches=4)),
    ]
    calls = []
    together = train_many(planted, jobs, on_metrics=lambda i, step, _: calls.append((i, step)))
    for result, job in zip(together, jobs, strict=True):
        assert same_weights(result.sae, train(planted, *job).sae)
    assert calls == [(1, 25), (0, 40)]


def test_several_layers_share_a_pass_by_picking_their_own(planted: Planted) -> None:
    settings = TrainConfig(steps=20, batch_size=256)
    both = [{3: planted.batch(i), 4: -planted.batch(i)} for i in range(20)]
    jobs = [Job(config(), settings, lambda batch, n=n: batch[n]) for n in (3, 4)]
    for result, layer in zip(train_many(both, jobs), (3, 4), strict=True):
        alone = train([batch[layer] for batch in both], config(), settings)
        assert same_weights(result.sae, alone.sae)


def test_several_saes_broken_off_at_different_steps_resume_bit_for_bit(
    planted: Planted, tmp_path: Path
) -> None:
    jobs = [
        (config("topk"), TrainConfig(steps=30, batch_size=256, checkpoint_minutes=minutes))
        for minutes in (0, 100)
    ]
    straight = train_many(planted, jobs)
    batches = [planted.batch(i) for i in range(20)]
    with pytest.raises(InputError, match="ended after 20"):
        train_many(iter(batches), jobs, checkpoint_dir=tmp_path)
    assert latest_checkpoint(tmp_path / "sae-0") is not None
    assert latest_checkpoint(tmp_path / "sae-1") is None
    resumed = train_many(planted, jobs, checkpoint_dir=tmp_path, resume=True)
    for a, b in zip(straight, resumed, strict=True):
        assert same_weights(a.sae, b.sae)


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return 0.0


@pytest.mark.parametrize("start", [0, 10])
def test_the_share_of_stalls_leaves_out_the_start(
    start: int, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainConfig(
        steps=20, batch_size=256, scale_batches=2, log_every=1, checkpoint_minutes=0
    )
    if start:
        batches = iter([planted.batch(i) for i in range(start)])
        with pytest.raises(InputError, match="ended after 10"):
            train_many(batches, [(config(), settings)], checkpoint_dir=tmp_path)
    clock = Clock()
    for module in ("train", "run", "throughput"):
        monkeypatch.setattr(f"plmsae.sae.{module}.time", clock)

    class Slow:
        def iter_from(self, step: int) -> Iterator[torch.Tensor]:
            clock.now += 1000  # Filling a buffer, running the PLM to where the run was.
            for i in count(step):
                clock.now += 1
                yield planted.batch(i)

    def pick(batch: torch.Tensor) -> torch.Tensor:
        clock.now += 3
        return batch

    shares = []
    (result,) = train_many(
        Slow(),
        [Job(config(), settings, pick)],
        on_metrics=lambda _, step, metrics: shares.append(metrics["stall_share"]),
        checkpoint_dir=tmp_path,
        resume=True,
    )
    assert len(shares) == 20 - start
    assert max(shares) == pytest.approx(0.25)
    throughput = result.throughput
    # A step takes three seconds, a wait one. The first batch is there before the clock runs, and
    # at a start the second, too: the scale was measured on them.
    steps, waits = (10, 9) if start else (20, 18)
    assert (throughput.vectors, throughput.seconds) == (
        256 * steps,
        pytest.approx(3 * steps + waits),
    )
    assert throughput.stall_share == pytest.approx(waits / throughput.seconds)
    assert throughput.vectors_per_second == pytest.approx(throughput.vectors / throughput.seconds)


def test_probes_and_other_saes_on_the_pass_count_in_the_wall_time_of_a_run(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainConfig(steps=10, batch_size=256, scale_batches=2, log_every=1)
    clock = Clock()
    for module in ("train", "run", "throughput"):
        monkeypatch.setattr(f"plmsae.sae.{module}.time", clock)

    def probe(sae: Sae) -> dict[str, float]:
        clock.now += 50
        return {}

    windows = []
    first, second = train_many(
        planted,
        [Job(config(), settings, None, probe), Job(config(), settings)],
        on_metrics=lambda i, step, metrics: windows.append((i, metrics["vectors_per_second"])),
    )
    # Ten probes; the second SAE waits for them as the first does.
    assert first.throughput.seconds == second.throughput.seconds == pytest.approx(500)
    assert first.throughput.stall_share == 0
    # What is logged is the pace of the steps, without the SAE's own probe.
    assert min(rate for i, rate in windows if i == 0) > first.throughput.vectors_per_second


def test_nothing_to_train_is_an_error(planted: Planted) -> None:
    with pytest.raises(InputError, match="nothing to train"):
        train_many(planted, [])


@pytest.mark.parametrize("arch", ["relu", "jumprelu"])
def test_a_held_sparsity_coefficient_stays_and_a_free_one_is_needed_or_k(
    arch: str, planted: Planted
) -> None:
    made = SaeConfig(arch=arch, d_in=16, d_sae=32, k=None)
    settings = TrainConfig(steps=30, batch_size=256, sparsity_coefficient=0.25)
    assert float(train(planted, made, settings).sae.penalty) == 0.25
    with pytest.raises(InputError, match="needs k or sparsity_coefficient"):
        train(planted, made, TrainConfig(steps=30, batch_size=256))


def test_resuming_a_finished_run_returns_it_without_a_step(
    planted: Planted, tmp_path: Path
) -> None:
    settings = TrainConfig(steps=20, batch_size=256)
    done = train(planted, config(), settings, checkpoint_dir=tmp_path)
    again = train(planted, config(), settings, checkpoint_dir=tmp_path, resume=True)
    assert same_weights(done.sae, again.sae)
    assert again.metrics == done.metrics


def test_the_latest_checkpoint_is_the_one_with_the_most_steps(tmp_path: Path) -> None:
    for name in ("step-9000", "step-10000", "step-x", ".step-20000.a.tmp"):
        (tmp_path / name).mkdir()
    assert latest_checkpoint(tmp_path) == tmp_path / "step-10000"


def test_resuming_under_another_configuration_names_what_differs(
    planted: Planted, tmp_path: Path
) -> None:
    train(planted, config(), TrainConfig(steps=5, batch_size=256), checkpoint_dir=tmp_path)
    with pytest.raises(InputError, match="another configuration: lr, seed"):
        train(
            planted,
            config(),
            TrainConfig(steps=5, batch_size=256, lr=1e-3, seed=4),
            checkpoint_dir=tmp_path,
            resume=True,
        )


@pytest.mark.parametrize("damage", ["truncate", "empty", "json", "other"])
def test_a_damaged_checkpoint_is_refused(damage: str, planted: Planted, tmp_path: Path) -> None:
    settings = TrainConfig(steps=5, batch_size=256)
    train(planted, config(), settings, checkpoint_dir=tmp_path)
    folder = latest_checkpoint(tmp_path)
    assert folder is not None
    tensors, state = folder / "state.safetensors", folder / "state.json"
    if damage == "truncate":
        tensors.write_bytes(tensors.read_bytes()[:-100])
    elif damage == "empty":
        tensors.write_bytes(b"")
    elif damage == "json":
        state.write_text(state.read_text()[:-5])
    else:
        state.write_text('{"version": 7}')
    with pytest.raises(InputError) as caught:
        train(planted, config(), settings, checkpoint_dir=tmp_path, resume=True)
    assert folder.name in str(caught.value)


def test_activations_that_are_not_finite_end_the_run_and_keep_the_checkpoint(
    planted: Planted, tmp_path: Path
) -> None:
    batches = [planted.batch(i) for i in range(30)]
    batches[20][3, 3] = torch.inf
    settings = TrainConfig(steps=30, batch_size=256, checkpoint_minutes=0)
    with pytest.raises(InputError, match="activations of step 21 hold values that are not finite"):
        train(batches, config(), settings, checkpoint_dir=tmp_path)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "step-000000020"


def test_activations_not_finite_from_the_start_are_named_before_the_first_step(
    planted: Planted,
) -> None:
    with pytest.raises(InputError, match="not finite"):
        train([planted.batch(0) * torch.nan], config(), TrainConfig(steps=3, batch_size=256))


def test_divergence_ends_with_what_to_change(planted: Planted, tmp_path: Path) -> None:
    settings = TrainConfig(steps=400, batch_size=256, lr=0.9, grad_clip=None, log_every=1)
    wild = [planted.batch(i) * (1 if i < 16 else 1e4) for i in range(400)]
    with pytest.raises(InputError, match=r"diverged.*lower lr .*in another folder") as caught:
        train(wild[::-1], config(), settings)
    assert "\n" not in str(caught.value)


def test_weights_that_a_step_broke_do_not_replace_the_last_good_checkpoint(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.step

    def step(self: Trainer, *args: Any) -> Any:
        done = original(self, *args)
        if self.step_count == 5:
            with torch.no_grad():
                self.sae.W_enc_FD[3, 3] = torch.nan
        return done

    monkeypatch.setattr(Trainer, "step", step)
    settings = TrainConfig(steps=9, batch_size=256, checkpoint_minutes=0)
    with pytest.raises(InputError, match=r"weights are not finite after step 5; lower lr"):
        train(planted, config(), settings, checkpoint_dir=tmp_path)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "step-000000004"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError("Unable to allocate 9 GiB for an array"),
    ],
)
def test_running_out_of_memory_says_what_to_lower_and_keeps_the_checkpoint(
    error: Exception, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.step

    def step(self: Trainer, *args: Any) -> Any:
        if self.step_count == 4:
            raise error
        return original(self, *args)

    monkeypatch.setattr(Trainer, "step", step)
    settings = TrainConfig(steps=9, batch_size=256, checkpoint_minutes=0)
    with pytest.raises(InputError, match=r"out of memory .* 32 latents .* 256; lower batch_size"):
        train(planted, config(), settings, checkpoint_dir=tmp_path)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "step-000000004"


def test_an_error_that_has_nothing_to_do_with_memory_is_not_called_so(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: Trainer, *args: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(RuntimeError, match="a bug"):
        train(planted, config(), TrainConfig(steps=9, batch_size=256))


def test_a_reconstruction_gone_wild_between_two_logs_is_not_stored(
    planted: Planted, tmp_path: Path
) -> None:
    batches = [planted.batch(i) for i in range(9)]
    # Far off all that was seen, and all alike: nothing there is to explain.
    batches[5] = 1e6 + planted.batch(5)
    settings = TrainConfig(steps=9, batch_size=256, checkpoint_minutes=0, scale_batches=4)
    with pytest.raises(InputError, match=r"diverged: FVU is .* at step 6"):
        train(batches, config(), settings, checkpoint_dir=tmp_path)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "step-000000005"


def test_batches_that_end_too_early_are_an_error_unless_they_can_start_again(
    planted: Planted,
) -> None:
    batches = [planted.batch(i) for i in range(4)]
    settings = TrainConfig(steps=10, batch_size=256)
    with pytest.raises(InputError, match="ended after 4 of 10 steps"):
        train(iter(batches), config(), settings)
    assert train(batches, config(), settings).steps == 10


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no batches of 8 to train on; .* lower batch_size"),
        ([torch.randn(8, 15)], r"shape \(n, 16\)"),
        ([torch.randn(16)], r"shape \(n, 16\)"),
        ([torch.ones(8, 16)], "all equal"),
    ],
)
def test_batches_that_do_not_fit_are_refused(batches: list[torch.Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(batches, config(), TrainConfig(steps=3, batch_size=8))


def test_an_unknown_device_is_an_error(planted: Planted) -> None:
    with pytest.raises(InputError, match="unknown device"):
        train(planted, config(), TrainConfig(steps=3, device="abacus"))
