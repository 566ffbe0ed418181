"""How well SAEs recover planted features, and how near they come to what can be reached.

    python benchmarks/sae_quality.py --archs topk batchtopk --seeds 0 1 2

Data: sparse sums of 400 known unit features in 64 dimensions, about 8 at a time, far from the
origin by γ = ‖mean‖ / ‖std‖. ``benchmarks/README.md`` says how to read the table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
import yaml
from peers import BATCHTOPK, TOPK, Meter, Shape, trained
from torch import Tensor

from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.evaluate import evaluate_sae
from plmsae.sae.scaling import measure_scaling
from plmsae.sae.train import train
from plmsae.sae.trainer import Trainer

D, N_FEATURES, D_SAE, K = 64, 400, 512, 8
_HELD_OUT = 99


class Planted:
    """Sparse sums of known features: the i-th batch is the same at every call.

    Feature f is active with probability ∝ 1 / sqrt(10 + f), 8 per vector on average, with a
    coefficient from N(1, 0.3²), at least 0.2.
    """

    def __init__(self, *, seed: int, gamma: float, batch_size: int = 2048) -> None:
        # Not the seed itself: an SAE's first weights, drawn with it, would be the features.
        generator = torch.Generator().manual_seed(7_919 + 104_729 * seed)
        self.seed, self.gamma, self.batch_size = seed, gamma, batch_size
        features = torch.randn(N_FEATURES, D, generator=generator)
        self.features = torch.nn.functional.normalize(features, dim=1)
        probability = (torch.arange(N_FEATURES) + 10.0).rsqrt()
        self.probability = probability / probability.sum() * K
        self.offset = torch.zeros(D)
        sample = self.draw(generator, 20_000)[0]
        std = sample.var(dim=0).sum().sqrt()
        direction = torch.nn.functional.normalize(torch.randn(D, generator=generator), dim=0)
        self.offset = direction * gamma * std - sample.mean(dim=0)

    def draw(self, generator: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
        """Return n vectors (n, D) and their coefficients (n, N_FEATURES)."""
        shape = (n, N_FEATURES)
        on = torch.rand(shape, generator=generator) < self.probability
        size = torch.randn(shape, generator=generator).mul_(0.3).add_(1).clamp_(min=0.2)
        return (on * size) @ self.features + self.offset, on * size

    def iter_from(self, step: int) -> Iterator[Tensor]:
        """Yield the batches from the 0-based `step`-th on."""
        while True:
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + step + 7)
            yield self.draw(generator, self.batch_size)[0]
            step += 1

    def held_out(self) -> Iterator[Tensor]:
        """Yield 100,000 vectors never trained on: enough for a rare feature not to seem dead."""
        generator = torch.Generator().manual_seed(_HELD_OUT)
        for _ in range(20):
            yield self.draw(generator, 5000)[0]


def oracle_fvu(planted: Planted, *, per_row: bool) -> float:
    """Return the FVU of one who knows features, offset and coefficients but may name only K.

    K a row (`per_row`) or K a row on average. No encoder can see the coefficients, so this is a
    bound and not a mark to reach.
    """
    x, coefficients = planted.draw(torch.Generator().manual_seed(_HELD_OUT), 4000)
    kept = coefficients if per_row else coefficients.flatten()[None]
    n = K if per_row else K * x.shape[0]
    best = kept.topk(n, dim=1)
    kept = torch.zeros_like(kept).scatter(1, best.indices, best.values).view_as(coefficients)
    error = (coefficients - kept) @ planted.features
    return float(error.square().sum() / (x - x.mean(dim=0)).square().sum())


def started_at_truth(planted: Planted, arch: str, settings: TrainConfig) -> float:
    """Return the held-out FVU of the same training started at the true features: the floor."""
    config = SaeConfig(arch=arch, d_in=D, d_sae=D_SAE, k=K)  # type: ignore[arg-type]
    stream = planted.iter_from(0)
    scaling = measure_scaling([next(stream) for _ in range(16)])
    trainer = Trainer(config, settings, scaling, torch.device("cpu"))
    with torch.no_grad():
        trainer.sae.W_dec_FD[:N_FEATURES] = planted.features
        trainer.sae.W_enc_FD[:N_FEATURES] = planted.features
    stream = planted.iter_from(0)
    for _ in range(settings.total_steps):
        trainer.step(next(stream))
    return evaluate_sae(trainer.finished_sae(), planted.held_out())["fvu"]


def recovered(planted: Planted, decoder_FD: Tensor) -> float:
    """Return the share of true features with a latent of cosine above 0.9."""
    rows = torch.nn.functional.normalize(decoder_FD, dim=1)
    return float(((planted.features @ rows.t()).amax(dim=1) > 0.9).float().mean())


def main() -> None:
    """Print one line per run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archs", nargs="*", default=["topk", "batchtopk"])
    parser.add_argument("--gammas", nargs="+", type=float, default=[0.3, 10.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--vectors", type=int, default=2_000_000)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--lr", type=float, default=None)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=NUMBER")
    parser.add_argument("--floor", action="store_true", help="also train from the true features")
    parser.add_argument("--peers", action="store_true", help="also train those installed")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| | γ | seed | FVU | floor | oracle | dead | recovered | L0 | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for gamma in arguments.gammas:
        for seed in arguments.seeds:
            planted = Planted(seed=seed, gamma=gamma, batch_size=arguments.batch_size)
            for arch in arguments.archs:
                line(f"plmsae {arch}", planted, own(planted, arch, arguments))
            if arguments.peers:
                for name, run in theirs(planted, arguments):
                    line(name, planted, run)


class Run(NamedTuple):
    """What one training came to."""

    fvu: float
    l0: float
    dead: float
    decoder_FD: Tensor
    seconds: float
    floor: float | None = None
    per_row: bool = True
    """Whether each row has k active latents, not only the average row."""


def line(name: str, planted: Planted, run: Run) -> None:
    """Print one line."""
    floor = "" if run.floor is None else f"{run.floor:.4f}"
    print(
        f"| {name} | {planted.gamma:g} | {planted.seed} | {run.fvu:.4f} | {floor} |"
        f" {oracle_fvu(planted, per_row=run.per_row):.4f} | {run.dead:.1%} |"
        f" {recovered(planted, run.decoder_FD):.1%} | {run.l0:.2f} | {run.seconds:.0f} |",
        flush=True,
    )


def own(planted: Planted, arch: str, arguments: argparse.Namespace) -> Run:
    """Train one of ours."""
    changes = {name: yaml.safe_load(value) for name, value in (s.split("=") for s in arguments.set)}
    settings = TrainConfig(
        n_vectors=arguments.vectors,
        batch_size=arguments.batch_size,
        seed=planted.seed,
        lr=arguments.lr or "auto",
        device="cpu",
        **changes,
    )
    start = time.perf_counter()
    sae = train(planted, SaeConfig(arch=arch, d_in=D, d_sae=D_SAE, k=K), settings).sae
    seconds = time.perf_counter() - start
    found = evaluate_sae(sae, planted.held_out())
    return Run(
        fvu=found["fvu"],
        l0=found["l0"],
        dead=found["dead_share"],
        decoder_FD=sae.W_dec_FD.detach(),
        seconds=seconds,
        floor=started_at_truth(planted, arch, settings) if arguments.floor else None,
        per_row=arch in ("topk", "hierarchical"),
    )


def theirs(planted: Planted, arguments: argparse.Namespace) -> Iterator[tuple[str, Run]]:
    """Train the peers that are installed, each at its defaults, on the same batches."""
    shape = Shape(
        d_in=D,
        d_sae=D_SAE,
        k=K,
        batch_size=arguments.batch_size,
        steps=arguments.vectors // arguments.batch_size,
        seed=planted.seed,
    )
    meter = Meter(torch.cat(list(planted.held_out())), D_SAE)
    for name, peer, (fvu, l0, dead), seconds in trained(TOPK | BATCHTOPK, shape, planted, meter):
        with torch.no_grad():
            rows = peer.decode(torch.eye(D_SAE)) - peer.decode(torch.zeros(1, D_SAE))
        yield name, Run(fvu, l0, dead, rows, seconds, per_row=name in TOPK)


if __name__ == "__main__":
    main()
