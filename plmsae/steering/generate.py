"""Fill the masked residues of a protein while a latent is held at a value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.plm.choices import FillOrder
from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.steering.feature import Feature
from plmsae.steering.prompt import Prompt, open_prompt


def generate(
    feature: Feature,
    prompt: Prompt,
    value: float,
    positions: Sequence[int],
    *,
    order: FillOrder = "sequential",
    temperature: float = 0.0,
    seed: int = 0,
) -> pl.DataFrame:
    """Fill the masked residues, unsteered, steered, and under each control.

    Parameters
    ----------
    prompt : Prompt
        With at least one masked residue.
    value : float
        Share of the latent's `max_activation`.
    positions : sequence of int
        1-based residues at which the latent is held.
    order : {"one-shot", "sequential"}
        All masked residues from one prediction; or one after another, the most certain first, each
        seen by those after it. The latent is set again each time, and controls make a change as
        large as the latent's in the sequence that they have filled.
    temperature : float
        0 takes the most probable amino acid; 1 draws from the prediction.
    seed : int
        Of the draws, the same for all.

    Returns
    -------
    polars.DataFrame
        ``kind`` (``none``, ``feature``, ``latent``, ``direction``), ``number``, ``sequence``, and
        ``filled``, the masked residues alone.
    """
    if not prompt.masked_L.any():
        raise InputError("no residue is masked, so there is none to generate", where="--mask")
    if temperature < 0:
        raise InputError("must be 0 or more", where="--temperature", value=str(temperature))
    versions: list[tuple[str, int | None]] = [("none", None), *feature.kinds]
    rows = []
    for which, (kind, number) in enumerate(versions):
        rng = np.random.default_rng([seed, 29])
        sequence = _fill(feature, prompt, value, positions, which, order, temperature, rng)
        filled = "".join(sequence[i] for i in np.flatnonzero(prompt.masked_L))
        rows.append({"kind": kind, "number": number, "sequence": sequence, "filled": filled})
    return pl.DataFrame(rows, schema_overrides={"number": pl.Int64})


def _fill(
    feature: Feature,
    prompt: Prompt,
    value: float,
    positions: Sequence[int],
    which: int,
    order: FillOrder,
    temperature: float,
    rng: np.random.Generator,
) -> str:
    """Return the sequence filled under one version: 0 unsteered, then as `Feature.versions`."""
    letters = list(prompt.sequence)
    left = np.flatnonzero(prompt.masked_L).tolist()
    while left:
        now = prompt
        if len(left) < prompt.masked_L.sum():
            now = open_prompt(feature.encoder, "".join(letters), [i + 1 for i in left])
        log_p_LA = now.log_probabilities([_version(feature, now, value, positions, which)])[0]
        chosen = left
        if order == "sequential":
            chosen = [left[int(log_p_LA[left].amax(1).argmax())]]
        for i in chosen:
            letters[i] = AMINO_ACIDS[_draw(log_p_LA[i], temperature, rng)]
        left = [i for i in left if i not in chosen]
    return "".join(letters)


def _version(
    feature: Feature, prompt: Prompt, value: float, positions: Sequence[int], which: int
) -> Tensor:
    if which == 0:
        return prompt.x_LD
    return feature.versions(prompt, feature.change(prompt, value, positions))[which - 1]


def _draw(log_p_A: Tensor, temperature: float, rng: np.random.Generator) -> int:
    if temperature == 0:
        return int(log_p_A.argmax())
    p_A = torch.softmax(log_p_A / temperature, dim=0).numpy()
    return int(rng.choice(len(p_A), p=p_A / p_A.sum()))
