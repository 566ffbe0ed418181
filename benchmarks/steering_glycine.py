"""InterPLM's glycine experiment (Simon & Zou 2025, Fig. 6), beside controls of the same size.

    python benchmarks/steering_glycine.py proteins.fasta.gz --model REF --model REF --out folder

Latents that fire on the glycines of collagen-like repeats (G-X-X-G-X-X-G) are set at one glycine of
an ordinary protein. The paper finds that glycine becomes more probable three residues on, too,
where the residue is masked; latents that fire on any glycine should change the glycine itself
alone. ``docs/steering.md`` says what comes out.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.latents import scale, stack_rows
from plmsae.encode import Encoder
from plmsae.proteins.reading import read_proteins
from plmsae.proteins.records import Protein
from plmsae.registry.models import resolve_exactly
from plmsae.reports.canvas import BAR, MARK, PALE, bare_axes, canvas
from plmsae.scoring.encoding import load_encoder
from plmsae.steering import dose_response, open_feature, open_prompt

COLLAGEN = re.compile(r"(?:G[^G][^G]){8,}")
REPEATS = re.compile(r"(?:G..){3,}")
OFFSETS = range(1, 10)
VALUE = 1.5
DOSES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
FLANK = 30
COLOURS = {"periodic": MARK, "glycine": BAR}


def choose_proteins(path: str, n: int, seed: int) -> tuple[list[str], list[str]]:
    """Return up to `n` collagen-like proteins and `n` without repeats, 80 to 400 residues long."""
    found = [p.sequence for p in read_proteins(path) if isinstance(p, Protein)]
    rng = np.random.default_rng(seed)
    collagen: list[str] = []
    ordinary: list[str] = []
    for i in rng.permutation(len(found)):
        sequence = found[i]
        hit = COLLAGEN.search(sequence)
        if hit and len(collagen) < n:
            first = max(0, hit.start() - 60)
            collagen.append(sequence[first : hit.end() + 60][:400])
        elif not REPEATS.search(sequence) and len(ordinary) < n and 80 <= len(sequence) <= 400:
            ordinary.append(sequence)
    return collagen, ordinary


def periodic_glycines(sequence: str) -> np.ndarray:
    """Say which residues are glycines of a collagen-like repeat, bool (L,)."""
    label = np.zeros(len(sequence), dtype=bool)
    for hit in COLLAGEN.finditer(sequence):
        label[hit.start() : hit.end() : 3] = True
    return label


def f1_by_latent(active: csr_array, label: np.ndarray) -> np.ndarray:
    """Return the F1 of every latent for a label on residues, (F,)."""
    both = np.asarray(active[label].sum(axis=0)).ravel()
    total = np.asarray(active.sum(axis=0)).ravel() + label.sum()
    return 2 * both / np.maximum(total, 1)


def choose_latents(
    encoder: Encoder, features: pl.DataFrame, collagen: list[str], ordinary: list[str]
) -> pl.DataFrame:
    """Return three latents for periodic glycines, and three for glycine in ordinary proteins."""
    highest = features["max_activation"].to_numpy()
    levels = {}
    for name, sequences in (("collagen", collagen), ("ordinary", ordinary)):
        rows = stack_rows(encoder.encode(sequences))
        levels[name] = csr_array(scale(rows, highest) > np.float32(0.15))
    repeat = np.concatenate([periodic_glycines(s) for s in collagen])
    glycine = np.concatenate([np.array(list(s)) == "G" for s in ordinary])
    # Of periodic glycines against everything else, glycines of ordinary proteins included.
    both = csr_array(stack_rows([levels["collagen"], levels["ordinary"]]))
    label = np.concatenate([repeat, np.zeros(len(glycine), dtype=bool)])
    periodic_f1 = f1_by_latent(both, label)
    glycine_f1 = f1_by_latent(levels["ordinary"], glycine)
    kinds = {"periodic": np.argsort(-periodic_f1, kind="stable")[:3]}
    kinds["glycine"] = [
        i for i in np.argsort(-glycine_f1, kind="stable") if i not in kinds["periodic"]
    ][:3]
    return pl.DataFrame(
        [
            {
                "kind": kind,
                "latent": int(latent),
                "f1_periodic": float(periodic_f1[latent]),
                "f1_glycine": float(glycine_f1[latent]),
            }
            for kind, latents in kinds.items()
            for latent in latents
        ]
    )


def contexts(ordinary: list[str], n: int) -> list[tuple[str, int]]:
    """Return windows around a glycine and its 1-based place; no other glycine where it is read."""
    found = []
    for sequence in ordinary:
        for i, letter in enumerate(sequence):
            after = sequence[i + 1 : i + 1 + max(OFFSETS)]
            if letter == "G" and len(after) == max(OFFSETS) and "G" not in after and i >= 5:
                first = max(0, i - FLANK)
                found.append((sequence[first : i + FLANK + 1], i - first + 1))
                break
    return found[:n]


def measure(
    encoder: Encoder, features: pl.DataFrame, latents: pl.DataFrame, prompts: list[tuple[str, int]]
) -> pl.DataFrame:
    """Steer at the glycine; return the probability of glycine there and at one mask after it."""
    parts = []
    for kind, latent in latents.select("kind", "latent").iter_rows():
        feature = open_feature(encoder, features, latent, n_controls=5)
        for number, (sequence, glycine) in enumerate(prompts):
            for offset in OFFSETS:
                prompt = open_prompt(encoder, sequence, [glycine + offset])
                doses = DOSES if offset == 3 else (VALUE,)
                table = dose_response(feature, prompt, [glycine], doses=doses, target="G")
                at_mask = pl.col("masked") & ~pl.col("steered")
                at_glycine = ~pl.col("masked") & pl.col("steered")
                parts.append(
                    table.filter(at_mask | (at_glycine & (pl.lit(offset) == 3))).select(
                        pl.lit(kind).alias("feature_kind"),
                        pl.lit(latent).alias("latent"),
                        pl.lit(number).alias("context"),
                        pl.when("steered").then(0).otherwise(offset).alias("offset"),
                        "value", "kind", "number", "p_before", "p_after",
                    )
                )  # fmt: skip
    return pl.concat(parts)


def summary(table: pl.DataFrame) -> pl.DataFrame:
    """Return the mean change of p(G) over contexts by latent, with 95 % intervals of the mean."""
    change = (pl.col("p_after") - pl.col("p_before")).mean().alias("change")
    keys = ["feature_kind", "latent", "kind", "offset", "value"]
    by_context = table.group_by([*keys, "context"]).agg(change, pl.col("p_before").mean())
    return (
        by_context.group_by(keys)
        .agg(
            pl.col("p_before").mean(),
            pl.col("change").mean(),
            (1.96 * pl.col("change").std() / pl.len().sqrt()).alias("half_interval"),
        )
        .sort(keys)
    )


def plot(tables: dict[str, pl.DataFrame], path: Path) -> None:
    """Draw, for each model, the change by offset and by value, of features and controls."""
    with canvas(path, size=(9.0, 3.4 * len(tables))) as figure:
        for row, (name, table) in enumerate(tables.items()):
            by_offset = bare_axes(figure, len(tables), 2, 2 * row + 1)
            by_value = bare_axes(figure, len(tables), 2, 2 * row + 2)
            for axes, x, rows in (
                (by_offset, "offset", table.filter(pl.col("value") == VALUE)),
                (by_value, "value", table.filter(pl.col("offset") == 3)),
            ):
                axes.axhline(0, color="black", linewidth=0.6)
                for kind, colour in COLOURS.items():
                    mine = rows.filter(pl.col("feature_kind") == kind)
                    own = mine.filter(pl.col("kind") == "feature")
                    for _, line in own.group_by("latent", maintain_order=True):
                        line = line.sort(x)
                        label = f"{kind} latent" if _[0] == own["latent"][0] else None
                        axes.errorbar(
                            line[x], line["change"], line["half_interval"], color=colour,
                            marker="o", markersize=3, linewidth=1.4, label=label,
                        )  # fmt: skip
                for control, style in (("latent", "--"), ("direction", ":")):
                    mean = rows.filter(pl.col("kind") == control).group_by(x).agg(
                        pl.col("change").mean()
                    ).sort(x)  # fmt: skip
                    axes.plot(
                        mean[x], mean["change"], style, color=PALE, label=f"random {control}s"
                    )
            by_offset.set_xticks(range(max(OFFSETS) + 1))
            by_offset.set_xlabel(f"residues after the steered glycine (value {VALUE:g})")
            by_value.set_xlabel("value, at the mask 3 residues after")
            by_offset.set_ylabel("change of p(glycine)")
            by_offset.set_title(name, loc="left", fontsize=9)
            if row == 0:
                by_value.legend(frameon=False, fontsize=7)


def main() -> None:
    """Run the experiment for each model and write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("proteins", help="FASTA with collagen-like and ordinary proteins")
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/steering-glycine"))
    parser.add_argument("--n-proteins", type=int, default=160)
    parser.add_argument("--n-contexts", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    collagen, ordinary = choose_proteins(args.proteins, args.n_proteins, args.seed)
    half = len(ordinary) // 2
    prompts = contexts(ordinary[half:], args.n_contexts)
    print(f"{len(collagen)} collagen-like proteins, {half} others, {len(prompts)} contexts")
    tables = {}
    for model in args.model:
        bundle, _ = resolve_exactly(model)
        encoder = load_encoder(bundle, head=True)
        latents = choose_latents(encoder, bundle.features, collagen, ordinary[:half])
        table = measure(encoder, bundle.features, latents, prompts)
        tables[bundle.name] = summary(table)
        table.write_parquet(args.out / f"{bundle.name}.parquet")
        with pl.Config(tbl_rows=200, tbl_hide_dataframe_shape=True):
            print(bundle.name, latents, sep="\n")
            print(tables[bundle.name].filter(pl.col("offset") <= 3, pl.col("value") == VALUE))
    plot(tables, args.out / "steering_glycine.png")


if __name__ == "__main__":
    main()
