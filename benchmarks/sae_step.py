"""How many vectors per second a training step takes, beside peers and the floor.

    python benchmarks/sae_step.py --threads 2 --cases 4096:32 2048:32 4096:64
    python benchmarks/sae_step.py --device cuda

All contestants alternate in one run, so that what else the machine does hits all alike;
``benchmarks/README.md`` says how to read the table, ``benchmarks/peers.py`` who takes part.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from peers import BATCHTOPK, TOPK, Shape, available
from torch import Tensor

from plmsae.sae import topk_cpu, topk_cuda
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.model import build_sae
from plmsae.sae.run import TrainingRun
from plmsae.sae.scaling import Scaling
from plmsae.sae.trainer import Trainer

Step = Callable[[Tensor], object]

# What is measured where: the sizes of a small PLM on a CPU, of ESM-2 650M on a GPU.
DEFAULTS = {
    "cpu": (320, 10_240, ["4096:32", "2048:32", "4096:64"]),
    "cuda": (1280, 40_960, ["8192:32", "2048:32", "8192:64"]),
}


def ours(arch: str, batch: int, k: int, arguments: argparse.Namespace) -> Step:
    """Take a whole step: revival of dead latents, clipping, Adam, checks and metrics."""
    config = SaeConfig(arch=arch, d_in=arguments.d_in, d_sae=arguments.d_sae, k=k)  # type: ignore[arg-type]
    # A window of one step: what is silenced below is dead from the second step on.
    # No part in which BatchTopK would choose like TopK: what it does itself is to be timed.
    settings = TrainConfig(steps=10_000, batch_size=batch, dead_window_share=0.0, per_row_share=0.0)
    scaling = Scaling(torch.zeros(arguments.d_in), 1.0, 0.0)
    trainer = Trainer(config, settings, scaling, torch.device(arguments.device))
    with torch.no_grad():
        trainer.sae.b_enc_F[: round(arguments.dead * arguments.d_sae)] = -10.0
    run = TrainingRun(trainer, lambda step, metrics: None, None)
    return lambda x: run.take(x, 0.0)


def ours_fp32(arch: str, batch: int, k: int, arguments: argparse.Namespace) -> Step:
    """Take the same step without bfloat16 candidates, or float16 screening."""
    step = ours(arch, batch, k, arguments)

    def without(x: Tensor) -> None:
        had = topk_cpu._HAS_BFLOAT16, topk_cuda._DEVICE
        topk_cpu._HAS_BFLOAT16, topk_cuda._DEVICE = False, "none"
        try:
            step(x)
        finally:
            topk_cpu._HAS_BFLOAT16, topk_cuda._DEVICE = had

    return without


def scoring(arch: str, batch: int, k: int, arguments: argparse.Namespace) -> Step:
    """Turn, which is no training step, raw activations into a sparse matrix of latents."""
    config = SaeConfig(arch=arch, d_in=arguments.d_in, d_sae=arguments.d_sae, k=k)  # type: ignore[arg-type]
    return build_sae(config).to(arguments.device).encode_csr


def floor(batch: int, arguments: argparse.Namespace, dtype: torch.dtype = torch.float32) -> Step:
    """Compute the encoder's product alone into memory at hand (and `x` in another type)."""
    on = {"device": arguments.device, "dtype": dtype}
    W_DF = torch.randn(arguments.d_sae, arguments.d_in, **on).t()
    out_BF = torch.empty(batch, arguments.d_sae, **on)
    return lambda x: torch.mm(x.to(dtype), W_DF, out=out_BF)


def contestants(batch: int, k: int, arguments: argparse.Namespace) -> dict[str, Step]:
    """Return who takes part, the floor first."""
    found: dict[str, Step] = {"floor (encoder GEMM)": floor(batch, arguments)}
    if arguments.device != "cpu":
        for dtype in (torch.bfloat16, torch.float16):
            found[f"GEMM in {dtype}".replace("torch.", "")] = floor(batch, arguments, dtype)
    for arch in arguments.archs:
        found[f"plmsae {arch}"] = ours(arch, batch, k, arguments)
        if arguments.fp32:
            found[f"plmsae {arch}, fp32 only"] = ours_fp32(arch, batch, k, arguments)
    if arguments.scoring:
        found["plmsae topk, scoring"] = scoring("topk", batch, k, arguments)
    if arguments.peers:
        shape = Shape(
            d_in=arguments.d_in,
            d_sae=arguments.d_sae,
            k=k,
            batch_size=batch,
            steps=10_000,
            device=arguments.device,
        )
        makers = TOPK | (BATCHTOPK if "batchtopk" in arguments.archs else {})
        found |= {name: peer.step for name, peer in available(makers, shape).items()}
    return found


def measure(steps: dict[str, Step], x_BD: Tensor, rounds: int) -> dict[str, list[float]]:
    """Return seconds per step, one after the other in each round; a first round is not counted."""
    # A GPU works on behind the back of the host: the clock is read when it is done.
    wait = torch.cuda.synchronize if x_BD.is_cuda else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(rounds + 1):
        for name, step in steps.items():
            wait()
            start = time.perf_counter()
            step(x_BD)
            wait()
            if i:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Print one table a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=list(DEFAULTS))
    parser.add_argument("--cases", nargs="+", help="batch:k")
    parser.add_argument("--archs", nargs="+", default=["topk", "batchtopk"])
    parser.add_argument("--d-in", type=int)
    parser.add_argument("--d-sae", type=int)
    parser.add_argument("--dead", type=float, default=0.01, help="share of latents that are dead")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--fp32", action="store_true", help="also without half precision")
    parser.add_argument("--scoring", action="store_true", help="also the path of batch scoring")
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    d_in, d_sae, cases = DEFAULTS[arguments.device]
    arguments.d_in, arguments.d_sae = arguments.d_in or d_in, arguments.d_sae or d_sae
    arguments.cases = arguments.cases or cases
    where = f"{arguments.threads} threads"
    if arguments.device == "cuda":
        where = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    for case in arguments.cases:
        batch, k = (int(number) for number in case.split(":"))
        x_BD = torch.randn(batch, arguments.d_in, generator=torch.Generator().manual_seed(0))
        x_BD = x_BD.to(arguments.device)
        steps = contestants(batch, k, arguments)
        seconds = measure(steps, x_BD, arguments.rounds)
        names = list(steps)
        base = seconds[names[0]]
        peak = 2e-9 * batch * arguments.d_in * arguments.d_sae / min(base)
        print(
            f"\n{arguments.d_in} → {arguments.d_sae}, batch {batch}, k {k},"
            f" {where}; measured fp32 peak {peak:.0f} GFLOP/s\n"
        )
        print("| | vectors/s (median) | best | of the floor |")
        print("| --- | --- | --- | --- |")
        for name in names:
            share = statistics.median(b / s for b, s in zip(base, seconds[name], strict=True))
            print(
                f"| {name} | {batch / statistics.median(seconds[name]):,.0f} |"
                f" {batch / min(seconds[name]):,.0f} | {share:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
