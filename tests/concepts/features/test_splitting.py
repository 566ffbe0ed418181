import numpy as np
import pytest
from conftest_concepts import label_table
from scipy.sparse import csr_array

from plmsae.concepts.association.pairs import gather_pairs
from plmsae.concepts.features.splitting import concept_splitting
from plmsae.concepts.labels.residue_labels import build_residue_labels


def test_what_the_best_latent_misses_and_another_finds_is_absorbed():
    # Ten instances: latent 0 finds six, latent 1 two of the others, latent 2 one of the six.
    rows = [("A", i + 1, i + 1, "x", "span") for i in range(10)] + [("A", 1, 1, "y", "site")]
    labels = build_residue_labels(label_table(rows), ["A"], [10])
    dense = np.zeros((10, 3), dtype=np.float32)
    dense[:6, 0] = dense[6:8, 1] = dense[0, 2] = 1
    latent = np.array([1, 0, 2, 2])
    pairs = gather_pairs([csr_array(dense)], labels, [0, 0, 0, 1], latent, np.ones(3))
    x, y = concept_splitting(pairs, latent, np.full(4, 0.5)).rows(named=True)
    assert (x["concept"], x["n_latents"], x["latent"]) == ("x", 3, 0)
    assert (x["found"], x["found_by_any"]) == (0.6, 0.8)
    assert x["absorbed"] == pytest.approx(0.5)
    assert (y["n_latents"], y["found"], y["absorbed"]) == (1, 1.0, None)


def test_a_latent_below_its_threshold_finds_nothing():
    labels = build_residue_labels(label_table([("A", 1, 3, "x", "span")]), ["A"], [3])
    pairs = gather_pairs([csr_array(np.full((3, 1), 0.4, np.float32))], labels, [0], [0], [1.0])
    row = concept_splitting(pairs, [0], [0.5]).row(0, named=True)
    assert (row["found"], row["absorbed"]) == (0, 0)
