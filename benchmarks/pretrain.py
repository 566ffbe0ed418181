r"""Train small PLMs for equal processor time and compare their held-out perplexity.

    python benchmarks/pretrain.py runs/mini/corpus --held-out a.tsv.gz --held-out b.tsv.gz \
        --seconds 180 --tries 6x192x3:6144:0.02 4x256x4:6144:0.02 6x192x3:6144:0.002:adamw

A try is LAYERSxWIDTHxHEADS:TOKENS_PER_STEP:LEARNING_RATE[:OPTIMIZER]. The corpus is a folder that
``plmsae pretrain`` left. A few steps tell how many fit the time; the schedule is then made for that
many, so that every try ends with its rate at zero. Time is that of the processor, not of the
clock: other work on the machine takes none of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import torch

from plmsae.plm.corpus import Corpus, open_corpus
from plmsae.plm.perplexity import choose_proteins, masked_perplexity
from plmsae.plm.pretrain import Pretrainer
from plmsae.plm.pretrain_config import PretrainConfig
from plmsae.workflows.shared.inputs import read_protein_set
from plmsae.workflows.shared.progress import Silent


def parse(text: str, arguments: argparse.Namespace) -> PretrainConfig:
    """Return the settings that a try stands for; how many steps is not known yet."""
    shape, tokens, rate, *named = text.split(":")
    layers, width, heads = (int(part) for part in shape.split("x"))
    optimizer = named[0] if named else "muon"
    return PretrainConfig(
        n_layers=layers,
        d_model=width,
        n_heads=heads,
        tokens_per_step=int(tokens),
        row=arguments.row,
        steps=10**6,
        warmup_share=0.05,
        decay_share=0.7,
        matrix_lr=float(rate),
        # Muon's rate is that of a unit-norm update, about ten times that of AdamW.
        other_lr=float(rate) * (0.1 if optimizer == "muon" else 1.0),
        optimizer=optimizer,
        mask_share=arguments.mask_share,
        ema=0.98,
        seed=arguments.seed,
    )


def step_seconds(config: PretrainConfig, corpus: Corpus, tokens: int = 40_000) -> float:
    """Return the processor seconds of one step."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Pretrainer(config, corpus, Path(folder) / "run")
        for _ in range(3):
            trainer._one_step()
        n = max(3, tokens // config.tokens_per_step)
        start = time.process_time()
        for _ in range(n):
            trainer._one_step()
        return (time.process_time() - start) / n


def flops_a_token(config: PretrainConfig) -> float:
    """Count multiplications and additions of a training step's matrix products, per token."""
    weights = 12 * config.n_layers * config.d_model**2
    attention = 2 * config.n_layers * config.row * config.d_model
    return 6.0 * (weights + attention)


def peak_flops(size: int = 2048, rounds: int = 5) -> float:
    """Return the best rate of a square bfloat16 product, a processor second."""
    a, b = (torch.randn(size, size).bfloat16() for _ in range(2))
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        a @ b
        best = min(best, time.process_time() - start)
    return 2 * size**3 / best


def main() -> None:
    """Run every try and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, help="folder `corpus` of a pretraining run")
    parser.add_argument("--held-out", type=Path, action="append", required=True)
    parser.add_argument("--tries", nargs="+", required=True)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--row", type=int, default=384)
    parser.add_argument("--mask-share", type=float, default=0.35)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    corpus = open_corpus(arguments.corpus)
    held_out = {
        path.name.split(".")[0]: choose_proteins(
            read_protein_set(str(path), progress=Silent()).sequences
        )
        for path in arguments.held_out
    }
    peak = peak_flops()
    print(f"bfloat16 product: {peak / 1e9:.0f} GFLOP/s a processor second", flush=True)
    columns = ["try", "M weights", "steps", "M tokens", "tokens/s", "of the peak", *held_out]
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns), flush=True)
    for text in arguments.tries:
        config = parse(text, arguments)
        seconds = step_seconds(config, corpus)
        steps = max(1, int(arguments.seconds / seconds))
        with tempfile.TemporaryDirectory() as folder:
            config = dataclasses.replace(config, steps=steps)
            trainer = Pretrainer(config, corpus, Path(folder) / "run")
            start = time.process_time()
            while trainer.step < steps:
                trainer._one_step()
            speed = steps * config.tokens_per_step / (time.process_time() - start)
            model = trainer.averaged_model()
        weights = sum(p.numel() for n, p in model.named_parameters() if "contact" not in n)
        cells = [
            text,
            f"{weights / 1e6:.1f}",
            f"{steps:,}",
            f"{steps * config.tokens_per_step / 1e6:.2f}",
            f"{speed:,.0f}",
            f"{speed * flops_a_token(config) / peak:.0%}",
            *(f"{masked_perplexity(model, s).perplexity:.2f}" for s in held_out.values()),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
