"""Time the association kernel against a plain loop over concepts and thresholds.

    python benchmarks/association.py            # 60,000 residues, and 600,000
    python benchmarks/association.py --quick    # the small case only

The shape is that of the published comparison: 60,000 residues × 200 concepts × 2,560 latents, 1.5 %
of the activations non-zero, 5 thresholds. The plain loop is what a careful reading of the InterPLM
protocol with scipy gives: for each concept and threshold a sparse product for the true positives
and one for the instances hit. Counts of the two are compared before times are printed.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.association.counts import INTERPLM_THRESHOLDS, associate
from plmsae.concepts.labels.residue_labels import ResidueLabels, build_residue_labels
from plmsae.concepts.latents import max_activations, scale, stack_rows


def simulate(
    n_residues: int, n_concepts: int = 200, n_latents: int = 2560, density: float = 0.015
) -> tuple[list[csr_array], ResidueLabels]:
    """Return proteins of 300 residues with random latents, each residue under about 5 concepts."""
    rng = np.random.default_rng(0)
    length, k = 300, round(n_latents * density)
    proteins = n_residues // length
    latents = []
    for _ in range(proteins):
        start = rng.integers(0, n_latents, (length, 1))
        order = rng.permuted(np.tile(np.arange(0, n_latents, 2), (length, 1)), axis=1)
        columns = np.sort((start + order[:, :k]) % n_latents, axis=1)
        data = rng.random(length * k, dtype=np.float32) + np.float32(1e-3)
        indptr = np.arange(length + 1) * k
        latents.append(
            csr_array(
                (data, columns.ravel().astype(np.int32), indptr.astype(np.int32)),
                shape=(length, n_latents),
            )
        )
    per_protein = 25
    n_instances = proteins * per_protein
    concept = rng.integers(0, n_concepts, n_instances)
    site = concept % 5 == 0
    size = np.where(site, 1, rng.integers(10, 140, n_instances))
    first = (rng.random(n_instances) * (length - size)).astype(int) + 1
    table = pl.DataFrame(
        {
            "accession": [f"P{i // per_protein}" for i in range(n_instances)],
            "start": first,
            "end": first + size - 1,
            "concept": [f"c{c:03d}" for c in concept],
            "kind": np.where(site, "site", "span"),
        }
    )
    return latents, build_residue_labels(
        table, [f"P{i}" for i in range(proteins)], [length] * proteins
    )


def plain(scaled: csr_array, labels: ResidueLabels) -> tuple[np.ndarray, np.ndarray]:
    """Count with a loop over concepts and thresholds."""
    masks = labels.mask_CN()
    shape = (labels.n_concepts, scaled.shape[1], len(INTERPLM_THRESHOLDS))
    inside, found = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for t, threshold in enumerate(INTERPLM_THRESHOLDS):
        above = (scaled > np.float32(threshold)).astype(np.int32)
        for c in range(labels.n_concepts):
            rows = masks.indices[masks.indptr[c] : masks.indptr[c + 1]]
            part = above[rows]
            inside[c, :, t] = part.sum(axis=0)
            if not labels.is_span_C[c]:
                found[c, :, t] = inside[c, :, t]
                continue
            mine = np.flatnonzero(labels.concept_I == c)
            size = labels.end_I[mine] - labels.start_I[mine]
            rows = np.concatenate(
                [np.arange(labels.start_I[i], labels.end_I[i]) for i in mine] or [[]]
            )
            members = csr_array(
                (np.ones(len(rows), dtype=np.int32), rows, np.concatenate([[0], np.cumsum(size)])),
                shape=(len(mine), labels.n_rows),
            )
            hit = members @ above
            found[c, :, t] = np.bincount(hit.indices[hit.data > 0], minlength=shape[1])
    return inside, found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the small case only")
    arguments = parser.parse_args()
    print(f"{'residues':>10}{'entries':>14}{'plmsae, s':>12}{'plain loop, s':>15}{'peak, MB':>10}")
    for n_residues in (60_000,) if arguments.quick else (60_000, 600_000):
        latents, labels = simulate(n_residues)
        highest = max_activations(latents, latents[0].shape[1])
        times = []
        for _ in range(3 if n_residues == 60_000 else 1):
            begun = time.perf_counter()
            counts = associate(latents, labels, highest)
            times.append(time.perf_counter() - begun)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        slow = "–"
        if n_residues == 60_000:
            scaled = scale(stack_rows(latents), highest)
            begun = time.perf_counter()
            inside, found = plain(scaled, labels)
            slow = f"{time.perf_counter() - begun:.1f}"
            assert np.array_equal(inside, counts.true_positives_CFT())
            assert np.array_equal(found, counts.found_CFT())
        entries = sum(array.nnz for array in latents)
        print(f"{n_residues:>10,}{entries:>14,}{min(times):>12.2f}{slow:>15}{peak:>10,}")


if __name__ == "__main__":
    main()
