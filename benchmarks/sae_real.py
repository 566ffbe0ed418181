"""How well SAEs rebuild real activations, beside peers on the same vectors.

    python benchmarks/sae_real.py proteins.fasta.gz --layers 2 4 --k 16 32 64

Everyone sees the same batches in the same order, for the same number of steps, and is measured on
the same proteins, none of them trained on. ``benchmarks/README.md`` says how to read the table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch
from peers import BATCHTOPK, TOPK, Meter, Shape, trained
from torch import Tensor

from plmsae.plm.model import load_plm
from plmsae.proteins.reading import read_proteins
from plmsae.proteins.records import Protein
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.train import train

# The first whose key is in a contestant's name.
STYLES = {"matryoshka": "D-.", "batchtopk": "s--", "jumprelu": "^:", "": "o-"}


class Vectors:
    """Activations in memory; batch i is the same at every call."""

    def __init__(self, x_ND: Tensor, batch_size: int) -> None:
        self.x_ND, self.batch_size = x_ND, batch_size

    def iter_from(self, step: int) -> Iterator[Tensor]:
        """Yield the batches from the 0-based `step`-th on, starting over at the end."""
        per_pass = len(self.x_ND) // self.batch_size
        while True:
            first = (step % per_pass) * self.batch_size
            yield self.x_ND[first : first + self.batch_size]
            step += 1


def activations(path: str, plm: str, layers: list[int], n: int, seed: int) -> dict[int, Tensor]:
    """Return about `n` shuffled rows per layer, the last tenth of them from other proteins."""
    found = [p.sequence for p in read_proteins(path) if isinstance(p, Protein)]
    order = np.random.default_rng(seed).permutation(len(found))
    chosen, residues = [], 0
    for index in order:
        if residues >= n:
            break
        chosen.append(found[index])
        residues += len(found[index])
    model = load_plm(plm)
    parts: dict[int, list[Tensor]] = {layer: [torch.empty(0)] * len(chosen) for layer in layers}
    for index, x in model.activations(chosen, layers):
        for layer in layers:
            parts[layer][index] = x[layer]
    cut = round(0.9 * len(chosen))
    rows = {}
    for layer, of_proteins in parts.items():
        learn = torch.cat(of_proteins[:cut])
        learn = learn[torch.randperm(len(learn), generator=torch.Generator().manual_seed(seed))]
        rows[layer] = (learn, torch.cat(of_proteins[cut:]))
    return rows  # type: ignore[return-value]


def main() -> None:
    """Print one line per run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proteins")
    parser.add_argument("--plm", default="plmsae-mini")
    parser.add_argument("--layers", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--k", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--archs", nargs="+", default=["topk", "batchtopk"])
    parser.add_argument("--d-sae", type=int, default=2048)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    parser.add_argument("--plot", metavar="FILE.png", help="FVU against L0, a panel a layer")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = activations(
        arguments.proteins, arguments.plm, arguments.layers, arguments.vectors, arguments.seed
    )
    print("| layer | k | | FVU | L0 | dead | s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    points: list[tuple[int, str, float, float]] = []
    for layer, (learn, held_out) in data.items():  # type: ignore[misc]
        source = Vectors(learn, arguments.batch_size)
        meter = Meter(held_out, arguments.d_sae)
        for k in arguments.k:
            for name, found, seconds in runs(arguments, source, meter, k):
                fvu, l0, dead = found
                print(
                    f"| {layer} | {k} | {name} | {fvu:.4f} | {l0:.1f} | {dead:.1%} |"
                    f" {seconds:.0f} |",
                    flush=True,
                )
                points.append((layer, name, l0, fvu))
    if arguments.plot:
        plot(points, arguments.plot)


def plot(points: list[tuple[int, str, float, float]], path: str) -> None:
    """Draw FVU against L0: a panel a layer, a line a contestant, its dashes the architecture."""
    import matplotlib.pyplot as plt

    layers = sorted({layer for layer, *_ in points})
    names = list(dict.fromkeys(name for _, name, *_ in points))
    colours = {who: f"C{i}" for i, who in enumerate(dict.fromkeys(n.split()[0] for n in names))}
    figure, axes = plt.subplots(
        1, len(layers), figsize=(4.5 * len(layers) + 2.2, 4), squeeze=False, layout="constrained"
    )
    for axis, layer in zip(axes[0], layers, strict=True):
        for name in names:
            chosen = [(x, y) for at, n, x, y in points if (at, n) == (layer, name)]
            if not chosen:
                continue
            l0, fvu = zip(*chosen, strict=True)
            axis.plot(
                l0,
                fvu,
                next(style for arch, style in STYLES.items() if arch in name.lower()),
                color=colours[name.split()[0]],
                label=name,
                linewidth=2 if name.startswith("plmsae") else 1.2,
                markersize=5,
            )
        axis.set(title=f"layer {layer}", xlabel="active latents a residue (L0)", yscale="log")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.grid(which="both", alpha=0.25)
    axes[0][0].set_ylabel("FVU on held-out proteins")
    lines = {line.get_label(): line for axis in axes[0] for line in axis.get_lines()}
    shown = [lines[name] for name in names]
    figure.legend(shown, names, loc="outside right upper", frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def runs(
    arguments: argparse.Namespace, source: Vectors, meter: Meter, k: int
) -> Iterator[tuple[str, tuple[float, float, float], float]]:
    """Train ours and theirs; yield the name, the measures and the seconds."""
    d_in = source.x_ND.shape[1]
    for arch in arguments.archs:
        settings = TrainConfig(
            steps=arguments.steps,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
            device="cpu",
        )
        config = SaeConfig(arch=arch, d_in=d_in, d_sae=arguments.d_sae, k=k)
        start = time.perf_counter()
        sae = train(source, config, settings).sae
        seconds = time.perf_counter() - start
        decoder, bias = sae.W_dec_FD.detach(), sae.b_dec_D.detach()

        def encode(x: Tensor, sae: object = sae) -> Tensor:
            return torch.from_numpy(sae.encode_csr(x).toarray())  # type: ignore[attr-defined]

        def decode(latents: Tensor, weight: Tensor = decoder, bias: Tensor = bias) -> Tensor:
            return latents @ weight + bias

        yield f"plmsae {arch}", meter.measure(encode, decode), seconds
    if not arguments.peers:
        return
    shape = Shape(
        d_in=d_in,
        d_sae=arguments.d_sae,
        k=k,
        batch_size=arguments.batch_size,
        steps=arguments.steps,
        seed=arguments.seed,
    )
    makers = {**(TOPK if "topk" in arguments.archs else {})}
    makers |= BATCHTOPK if "batchtopk" in arguments.archs else {}
    for name, _, found, seconds in trained(makers, shape, source, meter):
        yield name, found, seconds


if __name__ == "__main__":
    main()
