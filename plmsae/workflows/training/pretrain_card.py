"""The model card of a pretrained PLM."""

from __future__ import annotations

import dataclasses
from typing import Any

from plmsae.plm.pretrain_config import PretrainConfig
from plmsae.plm.sampling import ALONE, LARGE
from plmsae.workflows.training.curve import thinned


def pretrain_card(
    config: PretrainConfig,
    data: dict[str, Any],
    steps: int,
    curve: list[tuple[int, float]],
    perplexity: dict[str, dict[str, float]],
) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    data : dict
        ``data`` (fingerprints), ``clusters`` (SHA-256 of their table, or None),
        ``simulated_share``, ``simulated_seed``, ``init`` (the revision of the weights it started
        from, or None).
    steps : int
        Optimiser steps done.
    curve : list of (int, float)
        Step and training loss (nats per masked residue).
    perplexity : dict
        By held-out file.
    """
    residues = steps * config.tokens_per_step / 1e6
    lines = [
        "# A protein language model pretrained by plmsae",
        "",
        f"ESM-2 architecture, {config.n_layers} blocks, width {config.d_model}, "
        f"{config.n_heads} heads; a masked language model of protein sequences, trained "
        f"{_start(data)} for {steps:,} steps ({residues:.1f} million tokens) with seed "
        f"{config.seed}.",
        "",
        "**For** demonstrations, tests and teaching: small enough to train and open on two cores.",
        "**Not for** predictions anyone relies on: real work takes ESM-2 650M, by the same "
        "commands.",
        "",
        "## Masked perplexity",
        "400 proteins of 50 to 500 residues, 15 % of the positions masked. Never trained on. "
        "The unigram model knows the composition of the file, and nothing else.",
        "",
        "| held-out proteins | real | shuffled | unigram |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {p['real']:.2f} | {p['shuffled']:.2f} | {p['unigram']:.2f} |"
            for name, p in perplexity.items()
        ),
        "",
        *data_lines(data),
        f"Simulated families make {data['simulated_share']:.0%} of the residues. {_drawn(data)}",
        "",
        "## Training",
        *(f"- {name}: {value}" for name, value in dataclasses.asdict(config).items()),
        "",
        *loss_lines(curve, "loss"),
    ]
    return "\n".join(lines)


def _start(data: dict[str, Any]) -> str:
    """Say what the weights were before the first step."""
    return f"from the weights `{data['init']}`" if data.get("init") else "from scratch"


def _drawn(data: dict[str, Any]) -> str:
    if data.get("clusters") is None:
        return (
            "Proteins are drawn by how rare their 7-mers are: large families do not drown the rest."
        )
    return (
        f"Proteins are drawn by homology cluster (table `{data['clusters'][:16]}…`): one without "
        f"relatives weighs {ALONE:g}, others 1, and no cluster more than {LARGE} of them."
    )


def data_lines(data: dict[str, Any]) -> list[str]:
    """Return the section on the files that were trained on."""
    return [
        "## Data",
        "| file | proteins | residues | SHA-256 of the records |",
        "| --- | --- | --- | --- |",
        *(
            f"| {d['source']} | {d['n_proteins']:,} | {d['n_residues']:,} | `{d['sha256'][:16]}…` |"
            for d in data["data"]
        ),
        "",
    ]


def loss_lines(curve: list[tuple[int, float]], heading: str) -> list[str]:
    """Return the table of the training loss by step."""
    rows = (f"| {step:,} | {loss:.3f} |" for step, loss in thinned(curve))
    return [f"| step | {heading} |", "| --- | --- |", *rows, ""]
