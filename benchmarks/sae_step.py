"""How many vectors a second a training step takes, beside peers and the floor.

    python benchmarks/sae_step.py --threads 2 --cases 4096:32 2048:32 4096:64

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

from plmsae.sae import candidates
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.model import build_sae
from plmsae.sae.run import Run
from plmsae.sae.scaling import Scaling
from plmsae.sae.trainer import Trainer

Step = Callable[[Tensor], object]


def ours(arch: str, batch: int, k: int, arguments: argparse.Namespace) -> Step:
    """Take a whole step: revival of dead latents, clipping, Adam, checks and metrics."""
    config = SaeConfig(arch=arch, d_in=arguments.d_in, d_sae=arguments.d_sae, k=k)  # type: ignore[arg-type]
    # A window of one step: what is silenced below is dead from the second step on.
    settings = TrainConfig(steps=10_000, batch_size=batch, dead_window_share=0.0, device="cpu")
    scaling = Scaling(torch.zeros(arguments.d_in), 1.0, 0.0)
    trainer = Trainer(config, settings, scaling, torch.device("cpu"))
    with torch.no_grad():
        trainer.sae.b_enc_F[: round(arguments.dead * arguments.d_sae)] = -10.0
    run = Run(trainer, lambda step, metrics: None, None)
    return lambda x: run.take(x, 0.0)


def ours_fp32(arch: str, batch: int, k: int, arguments: argparse.Namespace) -> Step:
    """Take the same step without bfloat16 candidates."""
    step = ours(arch, batch, k, arguments)

    def without(x: Tensor) -> None:
        had = candidates._HAS_BFLOAT16
        candidates._HAS_BFLOAT16 = False
        try:
            step(x)
        finally:
            candidates._HAS_BFLOAT16 = had

    return without


def scoring(arch: str, batch: int, k: int, arguments: argparse.Namespace) -> Step:
    """Turn, which is no training step, raw activations into a sparse matrix of latents."""
    config = SaeConfig(arch=arch, d_in=arguments.d_in, d_sae=arguments.d_sae, k=k)  # type: ignore[arg-type]
    return build_sae(config).encode_csr


def floor(batch: int, arguments: argparse.Namespace) -> Step:
    """Compute the encoder's product alone, in float32, into memory at hand."""
    W_DF = torch.randn(arguments.d_sae, arguments.d_in).t()
    out_BF = torch.empty(batch, arguments.d_sae)
    return lambda x: torch.mm(x, W_DF, out=out_BF)


def contestants(batch: int, k: int, arguments: argparse.Namespace) -> dict[str, Step]:
    """Return who takes part, the floor first."""
    found: dict[str, Step] = {"floor (encoder GEMM)": floor(batch, arguments)}
    for arch in arguments.archs:
        found[f"plmsae {arch}"] = ours(arch, batch, k, arguments)
        if arguments.fp32:
            found[f"plmsae {arch}, fp32 only"] = ours_fp32(arch, batch, k, arguments)
    if arguments.scoring:
        found["plmsae topk, scoring"] = scoring("topk", batch, k, arguments)
    if arguments.peers:
        shape = Shape(
            d_in=arguments.d_in, d_sae=arguments.d_sae, k=k, batch_size=batch, steps=10_000
        )
        makers = TOPK | (BATCHTOPK if "batchtopk" in arguments.archs else {})
        found |= {name: peer.step for name, peer in available(makers, shape).items()}
    return found


def measure(steps: dict[str, Step], x_BD: Tensor, rounds: int) -> dict[str, list[float]]:
    """Return seconds a step, one after the other in each round; a first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step(x_BD)
            if i:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Print one table a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=["4096:32", "2048:32", "4096:64"])
    parser.add_argument("--archs", nargs="+", default=["topk", "batchtopk"])
    parser.add_argument("--d-in", type=int, default=320)
    parser.add_argument("--d-sae", type=int, default=10_240)
    parser.add_argument("--dead", type=float, default=0.01, help="share of latents that are dead")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--fp32", action="store_true", help="also without bfloat16")
    parser.add_argument("--scoring", action="store_true", help="also the path of batch scoring")
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for case in arguments.cases:
        batch, k = (int(number) for number in case.split(":"))
        x_BD = torch.randn(batch, arguments.d_in, generator=torch.Generator().manual_seed(0))
        steps = contestants(batch, k, arguments)
        seconds = measure(steps, x_BD, arguments.rounds)
        names = list(steps)
        base = seconds[names[0]]
        peak = 2e-9 * batch * arguments.d_in * arguments.d_sae / min(base)
        print(
            f"\n{arguments.d_in} → {arguments.d_sae}, batch {batch}, k {k},"
            f" {arguments.threads} threads; measured fp32 peak {peak:.0f} GFLOP/s\n"
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
