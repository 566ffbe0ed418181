"""Figures of what happens to predictions when a latent is set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from plmsae.reports.canvas import BAR, MARK, PALE, bare_axes, canvas, need_rows


def plot_dose_response(doses: pl.DataFrame, path: Path, *, title: str) -> Path:
    """Draw the effect of a latent against its value, a panel for each group of residues.

    Parameters
    ----------
    doses : polars.DataFrame
        As `plmsae.steering.dose_response` gives it. The target's probability is drawn if it is
        there, else the KL divergence.
    """
    group = ["masked", "steered", "n_residues"]
    need_rows(doses, "doses", "value", "kind", "number", "kl", *group)
    shown = "p_after" if "p_after" in doses.columns else "kl"
    groups = doses.select(group).unique(maintain_order=True).rows(named=True)
    styles: dict[str, dict[str, Any]] = {
        "direction": {"color": PALE, "linewidth": 0.8, "linestyle": ":"},
        "latent": {"color": BAR, "linewidth": 0.8, "alpha": 0.6},
        "feature": {"color": MARK, "linewidth": 2.2, "marker": "o", "markersize": 4},
    }
    labels = {"direction": "random direction", "latent": "random latent", "feature": "this latent"}
    with canvas(path, size=(1.2 + 2.8 * len(groups), 3.6)) as figure:
        for place, named in enumerate(groups, start=1):
            axes = bare_axes(figure, 1, len(groups), place)
            rows = doses.filter(**named).sort("value")
            for kind, style in styles.items():
                lines = rows.filter(kind=kind).group_by("number", maintain_order=True)
                for i, (_, line) in enumerate(lines):
                    label = labels[kind] if i == 0 else None
                    axes.plot(line["value"], line[shown], label=label, **style)
            if shown == "p_after":
                before = rows["p_before"][0]
                axes.axhline(before, color="black", linewidth=0.8, label="not steered")
            axes.axvline(1.0, color=PALE, linewidth=0.6, zorder=0)
            axes.set_ylim(bottom=0)
            where = "steered" if named["steered"] else "other"
            seen = "masked" if named["masked"] else "seen"
            n = named["n_residues"]
            axes.set_title(f"{where}, {seen}: {n} residue{'s' if n > 1 else ''}", fontsize=9)
            axes.set_xlabel("value (1 = maximum)")
            if place == 1:
                axes.set_ylabel("probability of the target" if shown == "p_after" else "KL (nats)")
                handles, names = axes.get_legend_handles_labels()
        figure.suptitle(title, fontsize=10, x=0.01, ha="left")
        figure.legend(
            handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8
        )
    return path


def plot_ablation(effects: pl.DataFrame, path: Path) -> Path:
    """Draw what removing each latent does to the residues of the sequence, as a heat map.

    Parameters
    ----------
    effects : polars.DataFrame
        As `plmsae.steering.ablate` gives it.
    """
    columns = ("latent", "position", "residue", "masked", "delta_log_p", "needed")
    need_rows(effects, "latents", *columns)
    latents = effects["latent"].unique(maintain_order=True).to_list()
    first = effects.filter(latent=latents[0])
    length = first.height
    delta_JL = effects["delta_log_p"].to_numpy().reshape(len(latents), length)
    needed_JL = effects["needed"].to_numpy().reshape(len(latents), length)
    most = max(float(np.nanmax(np.abs(delta_JL), initial=0.0)), 1e-6)
    width = min(max(6.0, 2.0 + 0.16 * length), 24.0)
    with canvas(path, size=(width, 1.6 + 0.22 * len(latents))) as figure:
        axes = bare_axes(figure)
        drawn = axes.imshow(delta_JL, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
        row, column = np.nonzero(needed_JL)
        axes.plot(column, row, ".", color="black", markersize=3)
        axes.set_yticks(range(len(latents)), [str(latent) for latent in latents], fontsize=7)
        axes.set_ylabel("latent")
        if length <= 120:
            letters = [
                f"[{residue}]" if masked else residue
                for residue, masked in first.select("residue", "masked").iter_rows()
            ]
            axes.set_xticks(range(length), letters, fontsize=6)
        else:
            at = np.arange(49, length, 50)
            axes.set_xticks(at, [str(i + 1) for i in at])
        axes.tick_params(length=0)
        axes.set_xlabel("residue ([masked]); dots: needs the latent more than any control")
        bar = figure.colorbar(drawn, ax=axes)
        bar.set_label("change of log probability")
        axes.set_title("Latents set to 0", loc="left", fontsize=10)
    return path
