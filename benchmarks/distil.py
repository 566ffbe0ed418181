r"""Distil small PLMs for equal processor time and compare them with their teacher.

    python benchmarks/distil.py runs/small/corpus --teacher esm2-8m --held-out a.tsv.gz \
        --seconds 180 --tries 6x320x20:128:forced 6x320x20:128 6x320x10:256:forced 6x192x3:256

A try is LAYERSxWIDTHxHEADS:ROW[:forced]; ``forced`` trains each block on the teacher's states for
two thirds of the time. The corpus is a folder that ``plmsae distil`` left. Time is that of the
processor, so that other work on the machine takes none of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import torch

from plmsae.plm.agreement import unexplained_by_layer
from plmsae.plm.corpus import Corpus, open_corpus
from plmsae.plm.distil import DistilConfig, Distillation
from plmsae.plm.model import Plm, load_plm, wrap_model
from plmsae.plm.perplexity import choose_proteins, masked_perplexity
from plmsae.plm.pretrain import Pretrainer
from plmsae.plm.pretrain_config import PretrainConfig
from plmsae.workflows.shared.inputs import read_protein_set
from plmsae.workflows.shared.progress import Silent

#: Share of the time in which blocks are trained on the teacher's states.
FORCED = 2 / 3


def start(
    text: str, arguments: argparse.Namespace, corpus: Corpus, teacher: Plm, folder: Path
) -> tuple[Pretrainer, Distillation]:
    """Return a run for a try, and its objective."""
    shape, row, *forced = text.split(":")
    layers, width, heads = (int(part) for part in shape.split("x"))
    config = PretrainConfig(
        n_layers=layers,
        d_model=width,
        n_heads=heads,
        row=int(row),
        tokens_per_step=arguments.tokens_per_step,
        steps=10**6,
        warmup_share=3e-5,
        matrix_lr=arguments.rate,
        other_lr=0.3 * arguments.rate,
        clean_share=0.5,
        token_dropout=True,
        ema=0.95,
    )
    losses = DistilConfig(kl_weight=0.3, forced_steps=10**6 if forced else 0)
    objective = Distillation(teacher, losses, n_layers=layers, d_model=width, dtype=torch.bfloat16)
    return Pretrainer(config, corpus, folder, objective=objective), objective


def main() -> None:
    """Run every try and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, help="folder `corpus` of a run")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--held-out", type=Path, action="append", required=True)
    parser.add_argument("--tries", nargs="+", required=True)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--tokens-per-step", type=int, default=2048)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--proteins", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    corpus = open_corpus(arguments.corpus)
    teacher = load_plm(arguments.teacher, device="cpu", precision="fp32", head=True)
    held_out = {
        path.name.split(".")[0]: choose_proteins(
            read_protein_set(str(path), progress=Silent()).sequences, count=arguments.proteins
        )
        for path in arguments.held_out
    }
    proteins = [protein for chosen in held_out.values() for protein in chosen]
    columns = ["try", "steps", "k tokens", *held_out, "FVU by layer, clean", "masked"]
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns), flush=True)
    for text in arguments.tries:
        with tempfile.TemporaryDirectory() as folder:
            run, objective = start(text, arguments, corpus, teacher, Path(folder) / "run")
            began = time.process_time()
            while (spent := time.process_time() - began) < arguments.seconds:
                if spent > FORCED * arguments.seconds:
                    objective.config = dataclasses.replace(objective.config, forced_steps=0)
                run._one_step()
            student = wrap_model(run.averaged_model(), teacher.vocabulary)
        shares = (
            unexplained_by_layer(student, objective, proteins, masked_share=share)
            for share in (0.0, 0.15)
        )
        cells = [
            text,
            f"{run.step:,}",
            f"{run.step * arguments.tokens_per_step / 1e3:,.0f}",
            *(f"{masked_perplexity(student, s).perplexity:.2f}" for s in held_out.values()),
            *(" ".join(f"{value:.3f}" for value in values) for values in shares),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
