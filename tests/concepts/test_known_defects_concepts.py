"""What public code gets wrong about pairs and terms, and must not be ours: each name states the
opposite."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from conftest_concepts import enrich, label_table, residue_pair_q_values
from scipy.sparse import csr_array

from plmsae.concepts.association.bootstrap import draw_proteins
from plmsae.concepts.association.counts import associate
from plmsae.concepts.enrichment.enrichment import active_proteins
from plmsae.concepts.enrichment.term_confirmation import choose_level, confirm_terms, lay_out
from plmsae.concepts.evaluation import Evaluation, Settings, evaluate_residue
from plmsae.concepts.features.family_specificity import family_specificity, pool_maximum
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import max_activations, scale
from plmsae.core.errors import InputError

N, LENGTH, F = 40, 30, 12
ACCESSIONS = [f"P{i:02d}" for i in range(N)]
SPLIT = np.repeat(["select", "report"], N // 2)
CLUSTERS = np.arange(N) // 2


@pytest.fixture
def world():
    """Spans that latent 0 finds with some noise, sites for latent 1, and the others anywhere."""
    rng = np.random.default_rng(1)
    rows, arrays = [], []
    for accession in ACCESSIONS:
        start, site = int(rng.integers(1, 15)), int(rng.integers(25, 30))
        rows += [(accession, start, start + 5, "span", "span")]
        rows += [(accession, site, site, "site", "site")]
        dense = 0.4 * rng.random((LENGTH, F)) * (rng.random((LENGTH, F)) < 0.3)
        if rng.random() < 0.8:
            dense[start - 1 : start + 5, 0] = rng.uniform(0.3, 1, 6)
        if rng.random() < 0.9:
            dense[site - 1, 1] = rng.uniform(0.5, 1)
        arrays.append(dense.astype(np.float32))
    return arrays, label_table(rows)


def evaluate(arrays, table: pl.DataFrame, sequences=None, **options) -> Evaluation:
    latents = [csr_array(a) for a in arrays]
    return evaluate_residue(
        latents,
        ACCESSIONS,
        table,
        SPLIT,
        Settings(**options),
        clusters=CLUSTERS,
        sequences=sequences,
    )


def test_thresholds_apply_to_scaled_activations_not_raw_ones(world):
    # Elsewhere the maximum of each latent is stored and not used: pairs depend on the unit.
    arrays, table = world
    unit = np.float32([512, 1 / 512, 8] * (F // 3))  # powers of two: nothing is rounded
    small, large = evaluate(arrays, table), evaluate([a * unit for a in arrays], table)
    assert large.concepts.equals(small.concepts)
    assert large.calls.equals(small.calls)
    assert large.evidence.equals(small.evidence)
    assert (
        set(small.concepts["best_threshold"]) > {0.0} or small.concepts["best_threshold"].min() > 0
    )


def test_the_threshold_chosen_on_select_is_the_one_measured_on_report():
    # Elsewhere it is chosen again on the test set: here that would find everything, at 0.5.
    rows = [(accession, 5, 5, "site", "site") for accession in ACCESSIONS]
    arrays = []
    for side in SPLIT:
        dense = np.zeros((LENGTH, 1), dtype=np.float32)
        dense[10:15] = 0.55 * (side == "select")  # noise here, the signal there
        dense[4] = 1.0 if side == "select" else 0.55
        arrays.append(dense)
    found = evaluate(arrays, label_table(rows))
    row = found.concepts.row(0, named=True)
    assert (row["f1_select"], row["best_threshold"], row["f1"]) == (1.0, pytest.approx(0.6), 0.0)
    assert found.features["f1"].to_list() == [0.0]
    assert (found.detection.pairs.height, found.calls.height) == (0, 0)
    assert found.summary["n_concepts_f1_50"] == 0


def test_report_proteins_have_no_say_in_pairs_thresholds_and_scales(world):
    # Elsewhere pairs, thresholds and maxima are taken from the proteins that are reported on.
    arrays, table = world
    other = [
        a if side == "select" else 3 * a[::-1, ::-1] for a, side in zip(arrays, SPLIT, strict=True)
    ]
    one, two = (evaluate(given, table, min_precision=0.5) for given in (arrays, other))
    chosen = ["concept", "best_latent", "best_threshold", "f1_select", "min_length", "max_gap"]
    assert one.concepts.select(chosen).equals(two.concepts.select(chosen))
    assert not one.concepts["f1"].equals(two.concepts["f1"])
    assert one.features["max_activation"].equals(two.features["max_activation"])
    tuned = ["concept", "call_latent", "call_threshold", "select_low"]
    assert one.annotator is not None
    assert two.annotator is not None
    assert one.annotator.frame.select(tuned).equals(two.annotator.frame.select(tuned))


def test_a_family_on_both_sides_is_refused_for_residues_and_for_terms(world):
    # Elsewhere proteins are split at random, and close homologues stand on both sides.
    arrays, table = world
    leaking = np.append(CLUSTERS[:-1], CLUSTERS[0])
    latents = [csr_array(a) for a in arrays]
    with pytest.raises(InputError, match="split by cluster"):
        evaluate_residue(latents, ACCESSIONS, table, SPLIT, clusters=leaking)
    terms = table.select("accession", "concept", pl.lit("x").alias("namespace"))
    with pytest.raises(InputError, match="split by cluster"):
        lay_out(terms, ACCESSIONS, SPLIT, leaking)


def test_every_pair_comes_with_intervals_that_count_families(world):
    # Elsewhere there are no intervals, and each of a family's proteins would count as one more.
    arrays, table = world
    found = evaluate(arrays, table, bootstrap=200)
    f1 = found.concepts["f1"]
    assert (found.evidence["f1_low"] < f1).all()
    assert (found.evidence["f1_high"] > f1).all()
    calls = found.concepts
    assert (calls["call_precision_low"] < calls["call_precision"]).all()
    weight_PB = draw_proteins(CLUSTERS, 20, 0)
    assert np.array_equal(weight_PB[::2], weight_PB[1::2])
    assert len(np.unique(weight_PB)) > 2


def test_q_values_are_corrected_for_all_concepts_times_latents():
    # Elsewhere millions of pairs are tried at five thresholds each, and nothing is corrected.
    rows = [("A", p, p, concept, "site") for concept, p in
            [("x", 3), ("x", 9), ("y", 30), ("z", 31), ("w", 32)]]  # fmt: skip
    labels = build_residue_labels(label_table(rows), ["A"], [100])

    def q_of_planted(n_latents: int, n_concepts: int) -> float:
        kept = labels.keep_concepts(np.isin(labels.concepts, ["x", "y", "z", "w"][:n_concepts]))
        dense = np.zeros((100, n_latents), dtype=np.float32)
        dense[[2, 8], 0] = 1
        counts = associate([csr_array(dense)], kept, np.ones(n_latents))
        return float(residue_pair_q_values(counts, counts)[kept.concepts.index("x"), 0])

    alone = q_of_planted(1, 1)
    assert 0 < alone < 0.001
    assert q_of_planted(50, 1) == pytest.approx(50 * alone)
    assert q_of_planted(50, 4) == pytest.approx(200 * alone)


def test_a_cysteine_feature_does_not_pass_for_a_disulfide_feature():
    # Elsewhere nothing controls for residue identity.
    rng = np.random.default_rng(0)
    rows, sequences, cysteine, disulfide = [], [], [], []
    for accession in ACCESSIONS:
        letters = rng.choice(list("ACDE"), LENGTH)
        letters[[3, 9, 15, 21]] = "C"
        is_c = letters == "C"
        bonded = np.isin(np.arange(LENGTH), [3, 9])
        rows += [(accession, p, p, "Disulfide bond", "site") for p in (4, 10)]
        sequences.append("".join(letters))
        cysteine.append(is_c[:, None].astype(np.float32))
        disulfide.append(bonded[:, None].astype(np.float32))
    table = label_table(rows)
    one, other = (
        evaluate(latents, table, sequences=sequences).evidence.row(0, named=True)
        for latents in (cysteine, disulfide)
    )
    assert one["auroc"] > 0.8  # it looks good
    assert one["auroc_same_residue"] == 0.5
    assert one["f1_same_residue"] == one["f1_every_residue"]
    assert (other["amino_acid"], other["auroc_same_residue"]) == ("C", 1.0)


def proteins_with_terms():
    """Latent 0: strong on kinases, weak elsewhere; and all but absent from transporters."""
    dense = np.full((80, 2), 0.5, dtype=np.float32)
    dense[:, 1] = np.tile([1, 0], 40)
    accessions = [f"P{i}" for i in range(80)]
    kinases, transporters = np.arange(0, 80, 4), [*range(1, 80, 2), 0, 4]
    dense[kinases, 0] = 10
    rows = [(accessions[i], name) for name, who in
            [("kinase", kinases), ("transporter", transporters), ("protein", range(80))]
            for i in who]  # fmt: skip
    table = pl.DataFrame(rows, schema=["accession", "concept"], orient="row")
    return csr_array(dense), accessions, table


def test_depleted_terms_are_not_enriched_and_weak_activations_not_active():
    # Elsewhere both tails of the test count, and every non-zero activation is an active protein.
    latents, accessions, table = proteins_with_terms()
    found = enrich(latents[:, [0]], accessions, table)
    assert found.select("concept", "n_active").rows() == [("kinase", 20)]
    # One live latent × three terms, and the pair is the best of them.
    assert found["q"].item() == pytest.approx(3 * 10 ** found["log10_p"].item())


def test_the_same_holds_where_terms_are_chosen_on_some_proteins_and_confirmed_on_others():
    latents, accessions, table = proteins_with_terms()
    terms = table.with_columns(pl.lit("biological_process").alias("namespace"))
    split = np.repeat(["select", "report"], 40)
    layout = lay_out(terms, accessions, split, min_proteins=5)
    level, scale_F = choose_level(latents[:, [0]], layout)
    assert level > 0
    pairs = confirm_terms(active_proteins(latents[:, [0]], scale_F, level), layout).pairs
    assert pairs.select("concept", "n_active_select", "n_active").rows() == [("kinase", 10, 10)]
    assert pairs["confirmed"].all()
    # A term that is enriched where it was chosen and depleted where it is reported.
    dense = latents.toarray()
    dense[40:, 0] = 10.5 - dense[40:, 0]
    active = active_proteins(csr_array(dense[:, [0]]), scale_F, level)
    turned = confirm_terms(active, layout).pairs.filter(concept="kinase")
    assert turned.select("n_both_select", "n_both", "confirmed").rows() == [(10, 0, False)]


def no_nan(frame: pl.DataFrame) -> bool:
    floats = frame.select(pl.col(pl.Float32, pl.Float64).fill_null(0))
    return all(np.isfinite(column.to_numpy()).all() for column in floats)


def test_dead_latents_are_silent_and_never_nan(world):
    # Elsewhere a latent is divided by its maximum, which is 0 for a dead one.
    arrays, table = world
    dead = [np.hstack([a, np.zeros((LENGTH, 2), np.float32)]) for a in arrays]
    for a, side in zip(dead, SPLIT, strict=True):
        a[:, -1] = side == "report"  # dead on the reference set only
    with np.errstate(all="raise"):
        found = evaluate(dead, table, bootstrap=20, min_precision=0.5)
    for frame in (found.features, found.concepts, found.evidence, found.annotator.frame):
        assert no_nan(frame)
    for row in found.features.rows(named=True)[F:]:
        assert (row["dead"], row["max_activation"]) == (True, 0.0)
        assert row["concept"] is row["f1"] is None
    latents = [csr_array(a) for a in dead]
    pooled = pool_maximum(latents)
    highest = max_activations(latents[:20], F + 2)
    scaled = scale(pooled, highest)
    assert np.isfinite(scaled.data).all()
    assert not np.isin(scaled.indices, [F, F + 1]).any()
    assert no_nan(family_specificity(pooled, CLUSTERS, min_members=2))
