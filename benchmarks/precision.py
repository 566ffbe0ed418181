"""What running the PLM in bf16 instead of fp32 saves, and what it changes.

    python benchmarks/precision.py MODEL proteins.fasta --n 500

The same proteins are encoded and annotated in both precisions by one model. Printed are residues
per second of processor time, the relative difference of the activations, the share of residues
whose set of active latents is the same, the share of active latents in common, and the agreement
of the calls: the F1 of the calls in bf16, with those in fp32 as truth, equal spans only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from plmsae.encode import Encoder
from plmsae.proteins.reading import read_proteins
from plmsae.proteins.records import Protein
from plmsae.registry.models import resolve
from plmsae.scoring.encoding import load_encoder
from plmsae.scoring.in_memory import annotate_proteins


def activations(encoder: Encoder, sequences: Sequence[str]) -> tuple[list[Any], float]:
    """Return the PLM's activations of each sequence, and residues per second of processor time."""
    list(encoder.plm.activations(sequences[:20], [encoder.layer]))  # kernels are made once
    begun = time.process_time()
    found = {
        i: x[encoder.layer].numpy() for i, x in encoder.plm.activations(sequences, [encoder.layer])
    }
    seconds = time.process_time() - begun
    return [found[i] for i in range(len(sequences))], sum(map(len, sequences)) / seconds


def shared_latents(ours: csr_array, theirs: csr_array) -> tuple[int, int, int, int]:
    """Return rows with the same active latents, rows, latents in common, latents of `ours`."""
    both = (ours > 0).multiply(theirs > 0).sum(axis=1)
    a, b = (np.diff((x > 0).tocsr().indptr) for x in (ours, theirs))
    return int(((both == a) & (both == b)).sum()), len(a), int(both.sum()), int(a.sum())


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("proteins")
    parser.add_argument("--n", type=int, default=500, help="proteins, the first of the file")
    asked = parser.parse_args()

    torch.set_num_threads(1)
    bundle = resolve(asked.model)
    records = [r for r in read_proteins(asked.proteins) if isinstance(r, Protein)][: asked.n]
    sequences = [record.sequence for record in records]
    print(f"{bundle.name}, {len(records)} proteins, {sum(map(len, sequences)):,} residues")
    states, latents, calls = {}, {}, {}
    for precision in ("fp32", "bf16"):
        encoder = load_encoder(bundle, device="cpu", precision=precision)
        states[precision], rate = activations(encoder, sequences)
        print(f"{precision}: PLM at {rate:,.0f} residues/s of processor time")
        latents[precision] = encoder.encode(sequences)
        calls[precision] = annotate_proteins(bundle, encoder, records)
    change = [
        np.linalg.norm(b - a) / np.linalg.norm(a)
        for a, b in zip(states["fp32"], states["bf16"], strict=True)
    ]
    same, rows, common, total = np.sum(
        [shared_latents(a, b) for a, b in zip(latents["fp32"], latents["bf16"], strict=True)],
        axis=0,
    )
    keys = ["accession", "concept", "start", "end"]
    n = {p: frame.height for p, frame in calls.items()}
    equal = calls["fp32"].select(keys).join(calls["bf16"].select(keys), on=keys, how="semi").height
    print(f"activations differ by {np.mean(change):.4f} of their norm (at most {max(change):.4f})")
    print(
        f"equal sets of active latents: {same / rows:.3f} of residues; "
        f"in common {common / total:.4f} of all"
    )
    agreement = 2 * equal / max(sum(n.values()), 1)
    print(f"calls: {n['fp32']} in fp32, {n['bf16']} in bf16, F1 {agreement:.4f}")


if __name__ == "__main__":
    main()
