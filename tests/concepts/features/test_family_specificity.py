import numpy as np
import pytest
from scipy.sparse import csr_array

from plmsae.concepts.features.family_specificity import family_specificity, pool_maximum
from plmsae.core.errors import InputError


def test_pooling_takes_the_maximum_over_residues():
    rng = np.random.default_rng(0)
    arrays = [rng.random((n, 5)) * (rng.random((n, 5)) < 0.3) for n in (4, 1, 9)]
    pooled = pool_maximum([csr_array(a.astype(np.float32)) for a in arrays])
    assert np.allclose(pooled.toarray(), [a.max(axis=0) for a in arrays])


def test_a_latent_of_one_family_is_specific_and_a_general_one_is_not():
    clusters = np.array([7] * 5 + [8] * 5 + [9] * 2 + list(range(100, 130)))
    dense = np.zeros((len(clusters), 5), dtype=np.float32)
    dense[:5, 0] = 1  # family 7, all of it
    dense[:, 1] = 1  # everything
    dense[5:7, 2] = 1  # two of five of family 8
    dense[10:12, 3] = 1  # a family too small to judge
    frame = family_specificity(csr_array(dense), clusters)
    assert frame["specific"].to_list() == [True, False, False, None, None]
    assert frame.row(0, named=True) == {
        "latent": 0, "cluster": 7, "n_members": 5, "n_active": 5,
        "precision": 1.0, "recall": 1.0, "f1": 1.0, "specific": True,
    }  # fmt: skip
    assert frame["f1"][2] == pytest.approx(2 * 2 / (5 + 2))
    assert frame["n_active"].to_list() == [5, 42, 2, 2, 0]


def test_clusters_must_fit_the_proteins():
    with pytest.raises(InputError, match="2 clusters for 3 proteins"):
        family_specificity(csr_array((3, 1)), [1, 2])
