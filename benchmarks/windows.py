"""What cutting long proteins into windows changes, on proteins that are longer than one window.

    python benchmarks/windows.py MODEL swissprot.tsv.gz --n 200

Only for PLMs with rotary positions, which take a protein of any length at once: the reference is
the same PLM without a limit. Printed are the active latents in common, by distance from the nearest
seam, the agreement of the calls (equal spans only), and the F1 of the calls against the labels of
the table, with windows and without. All in float32, so that nothing but the windows differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from plmsae.concepts.calling.matching import match_calls
from plmsae.concepts.labels.label_table import labels_from_uniprot
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.plm.windows import cut_windows
from plmsae.proteins.records import Protein
from plmsae.proteins.uniprot import read_table
from plmsae.registry.models import resolve
from plmsae.scoring.encoding import load_encoder
from plmsae.scoring.in_memory import annotate_proteins

_BINS = (0, 8, 32, 128, 10**9)


def seam_distances(length: int, window: int) -> NDArray[np.int64]:
    """Return the distance of each residue from the nearest place where two windows meet."""
    seams = np.array([w.keep_end for w in cut_windows(0, length, window)[:-1]])
    return np.abs(np.arange(length)[:, None] - seams).min(axis=1)


def common_by_distance(
    whole: Sequence[csr_array], cut: Sequence[csr_array], window: int
) -> list[tuple[int, float]]:
    """Return residues, and the share of active latents in common, in each of `_BINS`."""
    distance = np.concatenate([seam_distances(x.shape[0], window) for x in whole])
    common = np.concatenate(
        [(a > 0).multiply(b > 0).sum(axis=1) for a, b in zip(whole, cut, strict=True)]
    )
    active = np.concatenate([np.diff((a > 0).tocsr().indptr) for a in whole])
    place = np.searchsorted(_BINS, distance, side="right") - 1
    return [
        (int((place == b).sum()), float(common[place == b].sum() / active[place == b].sum()))
        for b in range(len(_BINS) - 1)
    ]


def f1_by_concept(
    calls: pl.DataFrame, proteins: Sequence[Protein], table: pl.DataFrame
) -> pl.DataFrame:
    """Return the F1 of the calls of each called concept, by the rule of `calling.matching`."""
    names = [p.accession for p in proteins]
    labels = build_residue_labels(
        labels_from_uniprot(table), names, [len(p.sequence) for p in proteins]
    )
    known = calls.filter(pl.col("concept").is_in(labels.concepts)).with_columns(
        protein=pl.col("accession").replace_strict(names, range(len(names)), return_dtype=pl.Int64)
    )
    matches = match_calls(known, labels)
    rows = []
    for concept in known["concept"].unique().sort():
        index = labels.concepts.index(concept)
        of_calls, of_labels = matches.concept_K == index, labels.concept_I == index
        precision = matches.right_K[of_calls].mean()
        recall = matches.found_I[of_labels].mean()
        rows.append((concept, int(of_calls.sum()), int(of_labels.sum()), precision, recall))
    schema = ["concept", "calls", "labels", "precision", "recall"]
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        f1=2 * pl.col("precision") * pl.col("recall") / (pl.col("precision") + pl.col("recall"))
    )


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("proteins", help="UniProt table with labels")
    parser.add_argument("--n", type=int, default=200, help="long proteins, the first of the file")
    parser.add_argument("--longest", type=int, default=3000, help="leave out longer proteins")
    parser.add_argument("--window", type=int, help="residues; by default the PLM's own")
    asked = parser.parse_args()

    bundle = resolve(asked.model)
    encoder = load_encoder(bundle, device="cpu", precision="fp32")
    window = asked.window or encoder.plm.max_residues
    table = read_table(asked.proteins)
    table = table.filter(pl.col("sequence").str.len_bytes().is_between(window + 1, asked.longest))
    table = table.head(asked.n)
    if not table.height:
        sys.exit(f"no protein of {window + 1:,} to {asked.longest:,} residues")
    proteins = [
        Protein(accession=row["accession"], sequence=row["sequence"])
        for row in table.select("accession", "sequence").iter_rows(named=True)
    ]
    sequences = [p.sequence for p in proteins]
    print(
        f"{bundle.name}, windows of {window:,}, {len(proteins)} proteins of {window + 1:,} to "
        f"{max(map(len, sequences)):,} residues, {sum(map(len, sequences)):,} in all"
    )
    torch.set_grad_enabled(False)
    latents, calls = {}, {}
    for name, limit in (("whole", asked.longest), ("windows", window)):
        plm = dataclasses.replace(encoder.plm, max_residues=limit)
        limited = dataclasses.replace(encoder, plm=plm)
        latents[name] = limited.encode(sequences)
        calls[name] = annotate_proteins(bundle, limited, proteins)
    print("residues from a seam   residues   active latents in common")
    for (low, high), (n, share) in zip(
        itertools.pairwise(_BINS),
        common_by_distance(latents["whole"], latents["windows"], window),
        strict=True,
    ):
        print(f"{f'{low} to {high - 1}' if high < _BINS[-1] else f'{low} or more':<22} "
              f"{n:>8,}   {share:.3f}")  # fmt: skip
    keys = ["accession", "concept", "start", "end"]
    n = {name: frame.height for name, frame in calls.items()}
    equal = calls["whole"].select(keys).join(calls["windows"].select(keys), on=keys, how="semi")
    agreement = 2 * equal.height / max(sum(n.values()), 1)
    print(
        f"calls: {n['whole']} whole, {n['windows']} in windows, F1 of equal spans {agreement:.3f}"
    )
    for name, frame in calls.items():
        for row in f1_by_concept(frame, proteins, table).iter_rows(named=True):
            print(
                f"{name:<8} {row['concept']:<28} {row['calls']:>5} calls {row['labels']:>5} labels"
                f" precision {row['precision']:.2f} recall {row['recall']:.2f} F1 {row['f1']:.2f}"
            )


if __name__ == "__main__":
    main()
