"""The tokenized corpus of a run that trains a PLM: made once, found again when it continues."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmsae.core.atomic import write_json
from plmsae.core.errors import InputError
from plmsae.core.fingerprint import fingerprint_file
from plmsae.proteins.clusters import read_clusters
from plmsae.tracking.runs import Run
from plmsae.workflows.shared.inputs import ProteinSet, check_proteins, read_protein_set
from plmsae.workflows.shared.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from plmsae.plm.corpus import Corpus

    Weigh = Callable[[Sequence[str]], NDArray[np.float64]]

#: Members of each simulated family that is mixed in; few, so that many families fit.
FAMILY = 8


def training_corpus(
    folder: Path,
    proteins: Sequence[str],
    progress: Progress,
    *,
    weigh: Weigh,
    run: Run,
    clusters: Path | None = None,
    simulated_share: float = 0.0,
    more: dict[str, Any] | None = None,
    seed: int = 0,
) -> tuple[Corpus, dict[str, Any]]:
    """Tokenize the proteins into `folder`, or open it if it was made of the same.

    Parameters
    ----------
    proteins : sequence of str
        Files.
    weigh : callable
        Gives the sampling weights of sequences, shape (P,), where `clusters` is None.
    run : Run
        Gets the quality pages of the proteins, file by file, when the corpus is made.
    clusters : Path, optional
        Table of homology clusters, which gives the weights.
    simulated_share : float
        Of simulated families among the residues, in [0, 1).
    more : dict, optional
        What else the corpus is known by.
    seed : int
        Of the simulated families.

    Returns
    -------
    corpus : Corpus
    made_of : dict
        ``data`` (fingerprints of the files), ``clusters`` (SHA-256 of the table, or None),
        ``simulated_share``, ``simulated_seed``, and `more`.

    Raises
    ------
    QualityError
        If the proteins of a file fail a critical expectation.
    """
    from plmsae.plm.corpus import open_corpus, write_corpus

    if not 0 <= simulated_share < 1:
        raise InputError(
            "must be from 0 to under 1", where="simulated_share", value=str(simulated_share)
        )
    sets = [read_protein_set(source, progress=progress) for source in proteins]
    made_of = {
        "data": [dataclasses.asdict(s.fingerprint) for s in sets],
        "clusters": None if clusters is None else fingerprint_file(clusters),
        "simulated_share": simulated_share,
        "simulated_seed": seed,
        **(more or {}),
    }
    record = folder / "made_of.json"
    if record.exists() and json.loads(record.read_text()) == made_of:
        return open_corpus(folder), made_of
    for number, group in enumerate(sets, start=1):
        # The same accession in two files is no harm here.
        key = "proteins" if len(sets) == 1 else f"proteins_{number}"
        check_proteins(group, folder.with_name(f"quality-{key}"), run, key=key)
    with progress.task("weighing and tokenizing the corpus") as task:
        sequences = [s for group in sets for s in group.sequences]
        weights = (
            weigh(sequences) if clusters is None else _cluster_weights(sets, clusters, progress)
        )
        task.update(1, 2)
        lengths = np.array([len(sequence) for sequence in sequences])
        simulated = _simulated(lengths.sum() * simulated_share / (1 - simulated_share), seed)
        # The weight of the average residue, so that the share of residues is that of draws, too.
        typical = float(np.average(weights, weights=lengths))
        all_weights = np.concatenate([weights, np.full(len(simulated), typical)])
        corpus = write_corpus(folder, [*sequences, *simulated], all_weights)
        write_json(record, made_of)
        task.update(2, 2)
    return corpus, made_of


def _simulated(wanted: float, seed: int) -> list[str]:
    """Return simulated proteins of at least `wanted` residues in all."""
    from plmsae.proteins.simulate import family_stream

    sequences: list[str] = []
    residues = 0
    if not wanted:
        return sequences
    for family in family_stream(seed):
        if residues >= wanted:
            break
        sequences += family[:FAMILY]
        residues += sum(map(len, family[:FAMILY]))
    return sequences


def _cluster_weights(
    sets: Sequence[ProteinSet], clusters: Path, progress: Progress
) -> NDArray[np.float64]:
    from plmsae.plm.sampling import cluster_weights

    table = read_clusters(clusters)
    accessions = [p.accession for group in sets for p in group.proteins]
    missing = [accession for accession in accessions if accession not in table]
    if len(missing) == len(accessions):
        raise InputError(
            "none of the proteins is in this table of clusters", where=clusters, value=accessions[0]
        )
    if missing:
        progress.say(
            f"{len(missing):,} proteins are in no cluster and count as alone ({missing[0]}, …)"
        )
    # A tab cannot be in a cluster's name, so these are clusters of one.
    return cluster_weights([table.get(a, f"\t{a}") for a in accessions])
