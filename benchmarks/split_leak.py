"""Measure how many homologous pairs a split by clusters parts, and what the clustering costs.

    python benchmarks/split_leak.py a.tsv.gz b.tsv.gz --proteins 2000

Proteins of each table are drawn at random, clustered together and divided into halves, once for
every seed. Every search then judges every clustering: the one that made the clusters, the other
ones, and exhaustive alignment of a sample of proteins with all others.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from plmsae.proteins.leak import COVERAGE, IDENTITY, Leak, search_exhaustively
from plmsae.proteins.search import search
from plmsae.proteins.splits import cluster, split
from plmsae.proteins.uniprot import read_table


def cpu_seconds() -> float:
    """Return the processor time of this process and of the programs that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Print one line for each clustering, and one for each judge of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--proteins", type=int, default=2000, help="drawn from each table")
    parser.add_argument("--methods", nargs="+", default=["kmer", "mmseqs"])
    parser.add_argument("--seeds", type=int, default=5, help="splits of each clustering")
    parser.add_argument("--cells", type=float, default=4e11, help="of the exhaustive alignment")
    asked = parser.parse_args()

    drawn = [
        read_table(path).sample(asked.proteins, seed=0)["sequence"].to_list()
        for path in asked.tables
    ]
    sequences = [text for part in drawn for text in part]
    judges = {}
    clusterings = {}
    for method in asked.methods:
        begun = time.perf_counter(), cpu_seconds()
        clusters = cluster(sequences, method=method)
        clusterings[method] = clusters, time.perf_counter() - begun[0], cpu_seconds() - begun[1]
        judges[method] = search(sequences, method=method)
    judges["exhaustive"], n_sampled = search_exhaustively(sequences, cells=asked.cells)
    print(f"{len(sequences):,} proteins; the exhaustive judge aligns {n_sampled:,} with all others")
    for method, (clusters, wall, cpu) in clusterings.items():
        sizes = np.bincount(clusters)
        print(
            f"{method}: {len(sizes):,} clusters, the largest of {sizes.max():,} proteins; "
            f"{wall:.0f} s, {cpu:.0f} s of processor time"
        )
        for judge, hits in judges.items():
            for coverage in (COVERAGE, 0.0):
                pairs = hits.take((hits.identity >= IDENTITY) & (hits.coverage >= coverage))
                across = 0
                for seed in range(asked.seeds):
                    sides = split(clusters, (0.5, 0.5), seed)
                    across += int((sides[pairs.query] != sides[pairs.target]).sum())
                found = Leak(n_pairs=len(pairs) * asked.seeds, n_across=across, judge=judge)
                share = 0.0 if found.share is None else found.share
                print(
                    f"  {judge}, {coverage:.0%} of both: {len(pairs):,} pairs, {share:.2%} parted"
                )


if __name__ == "__main__":
    main()
