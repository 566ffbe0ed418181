"""The model card of a distilled PLM."""

from __future__ import annotations

import dataclasses
from typing import Any

from plmsae.plm.distil_config import DistilConfig
from plmsae.plm.pretrain_config import PretrainConfig
from plmsae.workflows.training.curve import thinned
from plmsae.workflows.training.pretrain_card import data_lines, loss_lines


def distil_card(
    *,
    config: PretrainConfig,
    losses: DistilConfig,
    data: dict[str, Any],
    licence: str,
    steps: int,
    curve: list[tuple[int, float]],
    measured: list[tuple[int, dict[str, Any]]],
    agreement: dict[str, Any] | None,
) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    data : dict
        ``data`` (fingerprints), ``clusters``, ``teacher``, ``teacher_revision``, perhaps ``init``
        (the revision of the weights it started from).
    licence : str
        Of the teacher's weights.
    steps : int
        Optimiser steps done.
    curve : list of (int, float)
        Step and training loss.
    measured : list of (int, dict)
        Step, and ``perplexity`` and ``unexplained`` on some held-out proteins.
    agreement : dict or None
        The same at the end; None if nothing was held out.
    """
    tokens = steps * config.tokens_per_step / 1e6
    lines = [
        f"# A protein language model distilled from {data['teacher']} by plmsae",
        "",
        f"ESM-2 architecture and vocabulary, {config.n_layers} blocks, width {config.d_model}, "
        f"{config.n_heads} heads. {_start(data)} it learned, on {tokens:.1f} million tokens "
        f"({steps:,} steps, seed {config.seed}), to have the states of every layer of its teacher, "
        "and its predictions of masked residues.",
        "",
        f"**Teacher**: {data['teacher']}, revision `{data['teacher_revision']}`, licence of its "
        f"weights: {licence}. Its outputs were used; no weight was copied.",
        "",
        "**For** sparse autoencoders, demonstrations, tests and teaching on a small machine.",
        "**Not for** predictions anyone relies on: real work takes a larger PLM, by the same "
        "commands.",
        "",
        *_agreement(agreement),
        *data_lines(data),
        "All proteins are drawn equally often."
        if data["clusters"] is None
        else f"Proteins are drawn by homology cluster (table `{data['clusters'][:16]}…`).",
        "",
        "## Training",
        "Settings at the end; the length of rows, the rates and the weights of the losses may have "
        "changed on the way.",
        *(f"- {name}: {value}" for name, value in dataclasses.asdict(config).items()),
        *(f"- {name}: {value}" for name, value in dataclasses.asdict(losses).items()),
        "",
        *_curve(curve, measured),
    ]
    return "\n".join(lines)


def _start(data: dict[str, Any]) -> str:
    return f"From the weights `{data['init']}`" if data.get("init") else "From random weights"


def _agreement(agreement: dict[str, Any] | None) -> list[str]:
    if agreement is None:
        return []
    layers = range(len(agreement["unexplained"]["clean"]))
    return [
        "## Beside its teacher",
        "Masked perplexity: up to 400 proteins of 50 to 500 residues per file, 15 % of the "
        "positions masked. Never trained on.",
        "",
        "| held-out proteins | student | teacher |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {p['student']:.2f} | {p['teacher']:.2f} |"
            if "teacher" in p
            else f"| {name} | {p['student']:.2f} | no head |"
            for name, p in agreement["perplexity"].items()
        ),
        "",
        "Fraction of the variance of the teacher's residue states that the student leaves "
        "unexplained (0: the same states; 1: no better than their mean).",
        "",
        "| proteins | " + " | ".join(f"layer {layer}" for layer in layers) + " |",
        "| --- |" + " --- |" * len(layers),
        *(
            f"| {inputs} | " + " | ".join(f"{value:.3f}" for value in values) + " |"
            for inputs, values in agreement["unexplained"].items()
        ),
        "",
    ]


def _curve(curve: list[tuple[int, float]], measured: list[tuple[int, dict[str, Any]]]) -> list[str]:
    lines = [*loss_lines(curve, "training loss")]
    if measured:
        files = list(measured[-1][1]["perplexity"])
        lines += [
            "| step | "
            + " | ".join(f"perplexity, {name}" for name in files)
            + " | unexplained, mean over layers |",
            "| --- |" + " --- |" * (len(files) + 1),
            *(
                f"| {step:,} | "
                + " | ".join(f"{found['perplexity'][name]['student']:.2f}" for name in files)
                + f" | {_mean(found['unexplained']['clean']):.3f} |"
                for step, found in thinned(measured)
                if all(name in found["perplexity"] for name in files)
            ),
            "",
        ]
    return lines


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
