"""Draw the sample of Swiss-Prot that ships as ``plmsae/data/swissprot_sample.tsv.gz``.

    python benchmarks/swissprot_sample.py yeast.tsv.gz bsubtilis.tsv.gz plmsae/data/

Takes proteins of 40 to 600 residues from two UniProt exports. Nearly all proteins that carry a
concept which at least eight proteins of both organisms carry and at most a hundred of one, then
random ones: three in four of them annotated, one in four without any feature. The sample is richer
in annotation than a proteome is; its README says so.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
import polars as pl

from plmsae.concepts.labels.label_table import labels_from_uniprot
from plmsae.core.atomic import atomic_path
from plmsae.proteins.uniprot import read_table

LENGTHS = (40, 600)
BOTH, RARE = 8, 100
SIZES = (900, 1_200)
UNANNOTATED = 0.25


def main() -> None:
    """Draw and write the sample."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("tables", nargs=2, type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    tables = [read_table(path) for path in arguments.tables]
    tables = [t.filter(pl.col("length").is_between(*LENGTHS)) for t in tables]
    labels = [labels_from_uniprot(table) for table in tables]
    counts = [
        part.group_by("concept").agg(pl.col("accession").n_unique().alias("n")) for part in labels
    ]
    shared = (
        counts[0]
        .join(counts[1], on="concept", suffix="_2")
        .filter((pl.min_horizontal("n", "n_2") >= BOTH) & (pl.min_horizontal("n", "n_2") <= RARE))
    )
    rng = np.random.default_rng(0)
    rows = []
    for path, table, part, size in zip(arguments.tables, tables, labels, SIZES, strict=True):
        carriers = part.filter(pl.col("concept").is_in(shared["concept"].implode()))
        order = rng.permutation(carriers["accession"].unique().sort().to_numpy())
        chosen = set(order[: int(0.6 * size)].tolist())
        annotated = set(part["accession"].unique())
        for accessions, share in (
            (sorted(set(table["accession"]) - annotated), UNANNOTATED),
            (sorted(annotated - chosen), 1.0),
        ):
            wanted = round(share * (size - len(chosen)))
            chosen |= set(rng.permutation(accessions)[:wanted].tolist())
        raw = pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None)
        rows.append(raw.filter(pl.col("Entry").is_in(sorted(chosen))))
    sample = pl.concat(rows).drop("Entry Name", "Reviewed", "Gene Names")
    text = sample.write_csv(separator="\t", quote_style="never")
    with atomic_path(arguments.out / "swissprot_sample.tsv.gz") as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    size = (arguments.out / "swissprot_sample.tsv.gz").stat().st_size
    print(
        f"{sample.height:,} proteins, {sample['Sequence'].str.len_chars().sum():,} residues, "
        f"{size:,} bytes"
    )


if __name__ == "__main__":
    main()
