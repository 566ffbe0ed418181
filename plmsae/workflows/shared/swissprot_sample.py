"""The sample of Swiss-Prot that ships, as the tables of a whole run.

Yeast is what concepts are chosen on; B. subtilis is divided by homology cluster into proteins to
report on and proteins that no step before scoring has seen.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from plmsae.core.atomic import atomic_path
from plmsae.core.errors import InputError
from plmsae.proteins.records import Protein
from plmsae.workflows.shared.inputs import ProteinSet

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "swissprot_sample.tsv.gz"
"""Real proteins of two organisms; ``plmsae/data/README.md`` says how they were drawn."""

YEAST = "559292"
HELD_BACK = 0.4
"""Share of the B. subtilis proteins that is held back."""


@dataclass(frozen=True)
class SampleTables:
    """Paths of UniProt tables, and of the sequences to train on."""

    choose: Path
    """Yeast: concepts are chosen here."""
    report: Path
    """B. subtilis: what was chosen is measured here."""
    held_back: Path
    """Other families of B. subtilis, for scoring and filling."""
    train: Path
    """The first two as FASTA."""
    n_choose: int
    n_report: int
    n_held_back: int


def sample_proteins(n: int) -> ProteinSet:
    """Return `n` proteins from all over the sample, always the same ones.

    Of at most 400 residues, since a PLM's time grows with the length.
    """
    sample = pl.read_csv(
        SAMPLE, separator="\t", infer_schema=False, quote_char=None, columns=["Entry", "Sequence"]
    )
    short = sample.filter(pl.col("Sequence").str.len_bytes() <= 400)
    rows = short.gather_every(max(1, short.height // n)).head(n)
    return ProteinSet(
        source=SAMPLE.name,
        proteins=tuple(Protein(accession=a, sequence=s) for a, s in rows.iter_rows()),
        rejected=(),
        n_read=sample.height,
    )


def write_sample_tables(folder: Path, *, max_proteins: int | None, seed: int) -> SampleTables:
    """Divide the sample and write its tables.

    Parameters
    ----------
    max_proteins : int, optional
        Take a random part of the sample.
    seed : int
        Of that part and of the division.

    Raises
    ------
    InputError
        If too few proteins are left for three tables.
    """
    from plmsae.proteins.splits import cluster, split

    sample = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None)
    if max_proteins is not None and max_proteins < sample.height:
        if max_proteins < 30:
            raise InputError("too few proteins", where="--max-proteins", value=str(max_proteins))
        order = np.random.default_rng(seed).permutation(sample.height)
        sample = sample[np.sort(order[:max_proteins])]
    of_yeast = sample["Organism (ID)"] == YEAST
    others = sample.filter(~of_yeast)
    # The built-in search, so that the division does not depend on which programs are installed.
    clusters = cluster(others["Sequence"].to_list(), method="kmer")
    parts = split(clusters, {"report": 1 - HELD_BACK, "held back": HELD_BACK}, seed)
    choose = sample.filter(of_yeast)
    report, held_back = (others.filter(pl.Series(parts == part)) for part in range(2))
    folder.mkdir(parents=True, exist_ok=True)
    tables = SampleTables(
        choose=folder / "choose.tsv.gz",
        report=folder / "report.tsv.gz",
        held_back=folder / "held_back.tsv.gz",
        train=folder / "train.fasta.gz",
        n_choose=choose.height,
        n_report=report.height,
        n_held_back=held_back.height,
    )
    for path, table in (
        (tables.choose, choose),
        (tables.report, report),
        (tables.held_back, held_back),
    ):
        _write(path, table.write_csv(separator="\t", quote_style="never"))
    train = pl.concat([choose, report]).select("Entry", "Sequence").iter_rows()
    _write(tables.train, "".join(f">{entry}\n{sequence}\n" for entry, sequence in train))
    return tables


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        # No time stamp, so that equal seeds give equal bytes.
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
