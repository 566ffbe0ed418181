"""Small random proteins with labels and latents, and the slow obvious counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from plmsae.concepts.association.significance import benjamini_hochberg, residue_pair_log_p
from plmsae.concepts.enrichment.enrichment import TermTable, active_proteins, over_represented
from plmsae.concepts.latents import max_activations

SCHEMA = {
    "accession": pl.String,
    "start": pl.Int32,
    "end": pl.Int32,
    "concept": pl.String,
    "kind": pl.String,
}


def label_table(rows):
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def term_table(table, accessions, min_proteins=1):
    """Lay terms over some proteins; leave out those that few carry."""
    place = {accession: i for i, accession in enumerate(accessions)}
    pairs = sorted({(t, place[a]) for a, t in table.iter_rows() if a in place})
    count = Counter(term for term, _ in pairs)
    terms = tuple(sorted(term for term, n in count.items() if n >= min_proteins))
    carries = np.zeros((len(accessions), len(terms)), dtype=np.int32)
    for term, protein in pairs:
        if term in terms:
            carries[protein, terms.index(term)] = 1
    return TermTable(terms=terms, carries_PC=csr_array(carries), count_C=carries.sum(axis=0))


def enrich(latents_PF, accessions, table, *, level=0.15, min_proteins=5, fdr=0.05):
    """Test every latent against every term, over all proteins that have a term."""
    kept = np.flatnonzero(pl.Series(accessions).is_in(table["accession"].implode()).to_numpy())
    terms = term_table(table, [accessions[i] for i in kept], min_proteins)
    highest = max_activations([latents_PF], latents_PF.shape[1])
    active_PF = active_proteins(latents_PF[kept], highest, level)
    pairs = over_represented(active_PF, terms, max_p=fdr)
    n_tests = len(np.unique(active_PF.indices)) * len(terms.terms)
    q = benjamini_hochberg(10 ** pairs["log10_p"].to_numpy(), n_tests)
    return pairs.with_columns(pl.Series("q", q)).filter(pl.col("q") <= fdr)


def residue_pair_q_values(select, report):
    """The q-value of every (concept, latent) pair, corrected over all of them."""
    return benjamini_hochberg(np.exp(residue_pair_log_p(select, report)))


@dataclass
class World:
    latents: list
    accessions: list
    lengths: list
    table: pl.DataFrame


def make_world(seed, *, n_proteins=5, n_latents=6, n_concepts=4, longest=15, density=0.4):
    """Random proteins; even concepts are spans, odd ones sites; instances overlap freely."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, n_proteins).tolist()
    accessions = [f"P{i}" for i in range(n_proteins)]
    # Few distinct values, some exactly on a threshold of a latent whose maximum is 1.
    values = np.array([0, 0.15, 0.2, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 1.0], dtype=np.float32)
    latents = []
    for length in lengths:
        dense = rng.choice(values, (length, n_latents)) * (
            rng.random((length, n_latents)) < density
        )
        dense[:, n_latents - 1] = 0  # always one dead latent
        latents.append(csr_array(dense.astype(np.float32)))
    rows = []
    for _ in range(int(rng.integers(1, 25))):
        protein = int(rng.integers(n_proteins))
        concept = int(rng.integers(n_concepts))
        start = int(rng.integers(1, lengths[protein] + 1))
        end = int(rng.integers(start, lengths[protein] + 1)) if concept % 2 == 0 else start
        kind = "span" if concept % 2 == 0 else "site"
        rows.append((accessions[protein], start, end, f"c{concept}", kind))
    return World(latents, accessions, lengths, label_table(rows))


@pytest.fixture
def world():
    return make_world(0)


def slow_counts(world, concepts, max_activation, thresholds):
    """Count with plain loops, from the label table itself."""
    n_latents = world.latents[0].shape[1]
    shape = (len(concepts), n_latents, len(thresholds))
    inside, found, fires = np.zeros(shape, int), np.zeros(shape, int), np.zeros(shape[1:], int)
    residues, instances = np.zeros(shape[0], int), np.zeros(shape[0], int)
    for accession, sparse in zip(world.accessions, world.latents, strict=True):
        dense = sparse.toarray()
        rows = {tuple(row) for row in world.table.iter_rows() if row[0] == accession}
        for c, concept in enumerate(concepts):
            mine = [row for row in rows if row[3] == concept]
            labelled = {p for row in mine for p in range(row[1], row[2] + 1)}
            residues[c] += len(labelled)
            instances[c] += len(mine)
            for f in range(n_latents):
                for t, threshold in enumerate(thresholds):
                    above = {
                        p + 1
                        for p in range(len(dense))
                        if max_activation[f] > 0
                        and dense[p, f] / max_activation[f] > np.float32(threshold)
                    }
                    inside[c, f, t] += len(above & labelled)
                    if c == 0:
                        fires[f, t] += len(above)
                    for row in mine:
                        if row[4] == "span":
                            found[c, f, t] += bool(above & set(range(row[1], row[2] + 1)))
                    if mine and mine[0][4] == "site":
                        found[c, f, t] += len(above & labelled)
    return inside, found, fires, residues, instances
