"""How the effect of a feature grows with its value, beside the same of its controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.steering.feature import Feature
from plmsae.steering.prompt import Prompt, check_positions

DOSES = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
"""Values of a dose-response curve, as shares of the latent's maximum."""


def target_index(target: str | None) -> int | None:
    """Return an amino acid's place in `AMINO_ACIDS`; raise `InputError` if it is none of the 20."""
    if target is None:
        return None
    if len(target) != 1 or target.upper() not in AMINO_ACIDS:
        raise InputError("one of the 20 amino acids", where="--target", value=target)
    return AMINO_ACIDS.index(target.upper())


def kl_nats(before_LA: Tensor, after_WLA: Tensor) -> Tensor:
    """Return the KL divergence from predictions before to those after, in nats, (W, L)."""
    return (before_LA.exp() * (before_LA - after_WLA)).sum(-1)


def dose_response(
    feature: Feature,
    prompt: Prompt,
    positions: Sequence[int],
    *,
    doses: Sequence[float] = DOSES,
    target: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> pl.DataFrame:
    """Measure the effect of a latent, and of its controls, at several values.

    Parameters
    ----------
    positions : sequence of int
        1-based residues at which the latent is set.
    doses : sequence of float
        Shares of the latent's `max_activation`, 0 or more.
    target : str, optional
        An amino acid whose probability is followed.
    on_progress : callable
        Called with the doses done and all doses.

    Returns
    -------
    polars.DataFrame
        A row for each value, kind of change and group of residues: ``value``; ``kind``
        (``feature``, ``latent``, ``direction``); ``number`` (the latent, or which direction);
        ``masked`` and ``steered`` (the group); ``n_residues``; ``size`` (mean length of the change
        over the steered residues, in the unit of activations); ``kl`` (mean, nats, from the
        predictions without steering); with a target ``p_before`` and ``p_after``, its mean
        probability.
    """
    column = target_index(target)
    positions = check_positions(positions, len(prompt.sequence), option="--positions")
    steered_L = np.zeros(len(prompt.sequence), dtype=bool)
    steered_L[[p - 1 for p in positions]] = True
    before_LA = prompt.log_probabilities([prompt.x_LD])[0]
    groups = [
        (masked, steered, torch.from_numpy(chosen))
        for masked in (True, False)
        for steered in (True, False)
        if (chosen := (prompt.masked_L == masked) & (steered_L == steered)).any()
    ]
    rows = []
    values = sorted(set(doses))
    for number, value in enumerate(values):
        on_progress(number, len(values))
        change_LD = feature.change(prompt, value, positions)
        size = float(torch.linalg.vector_norm(change_LD[steered_L.nonzero()[0]], dim=1).mean())
        after_WLA = prompt.log_probabilities(feature.versions(prompt, change_LD))
        kl_WL = kl_nats(before_LA, after_WLA)
        for masked, steered, chosen in groups:
            for version, (kind, which) in enumerate(feature.kinds):
                row = {
                    "value": float(value), "kind": kind, "number": which,
                    "masked": masked, "steered": steered, "n_residues": int(chosen.sum()),
                    "size": size, "kl": float(kl_WL[version, chosen].mean()),
                }  # fmt: skip
                if column is not None:
                    row["p_before"] = float(before_LA[chosen, column].exp().mean())
                    row["p_after"] = float(after_WLA[version, chosen, column].exp().mean())
                rows.append(row)
    on_progress(len(values), len(values))
    return pl.DataFrame(rows)


def predictions(
    feature: Feature, prompt: Prompt, value: float, positions: Sequence[int]
) -> pl.DataFrame:
    """Return every residue's predicted distribution before and after steering.

    Returns
    -------
    polars.DataFrame
        20 rows per residue: ``position`` (1-based), ``residue``, ``masked``, ``steered``,
        ``activation`` (before, as a share of the latent's maximum), ``amino_acid``, ``p_before``,
        ``p_after``.
    """
    positions = check_positions(positions, len(prompt.sequence), option="--positions")
    change_LD = feature.change(prompt, value, positions)
    before_LA, after_LA = prompt.log_probabilities([prompt.x_LD, prompt.x_LD + change_LD]).exp()
    length, n = before_LA.shape
    at = np.arange(1, length + 1)
    return pl.DataFrame(
        {
            "position": at.repeat(n),
            "residue": np.array(list(prompt.sequence)).repeat(n),
            "masked": prompt.masked_L.repeat(n),
            "steered": np.isin(at, positions).repeat(n),
            "activation": feature.activations(prompt).cpu().numpy().repeat(n),
            "amino_acid": np.tile(np.array(list(AMINO_ACIDS)), length),
            "p_before": before_LA.flatten().numpy(),
            "p_after": after_LA.flatten().numpy(),
        }
    )


def larger_than(doses: pl.DataFrame, value: float) -> pl.DataFrame:
    """Hold the feature's effect at one value against its controls'.

    Returns
    -------
    polars.DataFrame
        A row for each group (``masked``, ``steered``, ``n_residues``) and kind of control
        (``control``): ``kl``, the feature's; ``kl_median`` and ``kl_max``, the controls';
        ``n_controls``; ``n_smaller``, controls with a smaller KL. With a target also ``p_before``,
        ``p_after`` (the feature's), ``p_low`` and ``p_high``, the range of the controls'.
    """
    rows = doses.filter(pl.col("value") == value)
    own = rows.filter(pl.col("kind") == "feature").drop("kind", "number", "value", "size")
    others = rows.filter(pl.col("kind") != "feature")
    group = ["masked", "steered"]
    targets = ["p_after"] if "p_after" in rows.columns else []
    joined = others.select(
        *group, pl.col("kind").alias("control"), pl.col("kl").alias("kl_control"),
        *(pl.col(name).alias(f"{name}_control") for name in targets),
    ).join(own, on=group)  # fmt: skip
    kept = ["n_residues", "kl", *(["p_before", "p_after"] if targets else [])]
    return joined.group_by([*group, "control"], maintain_order=True).agg(
        *(pl.col(name).first() for name in kept),
        pl.col("kl_control").median().alias("kl_median"),
        pl.col("kl_control").max().alias("kl_max"),
        pl.len().cast(pl.Int64).alias("n_controls"),
        (pl.col("kl_control") < pl.col("kl")).sum().cast(pl.Int64).alias("n_smaller"),
        *(pl.col(f"{name}_control").min().alias("p_low") for name in targets),
        *(pl.col(f"{name}_control").max().alias("p_high") for name in targets),
    )
