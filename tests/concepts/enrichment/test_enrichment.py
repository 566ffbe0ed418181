import numpy as np
import polars as pl
import pytest
from conftest_concepts import enrich
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.stats import false_discovery_control, hypergeom

from plmsae.concepts.enrichment.enrichment import active_proteins, shuffle_terms
from plmsae.core.errors import InputError


def terms(rows):
    return pl.DataFrame(rows, schema={"accession": pl.String, "concept": pl.String}, orient="row")


def random_case(seed, n_proteins=40, n_latents=6, n_terms=5):
    rng = np.random.default_rng(seed)
    accessions = [f"P{i}" for i in range(n_proteins)]
    dense = rng.random((n_proteins, n_latents)) * (rng.random((n_proteins, n_latents)) < 0.5)
    dense[:, -1] = 0
    carries = rng.random((n_proteins, n_terms)) < rng.random(n_terms) * 0.7
    rows = [(accessions[p], f"t{t}") for p, t in zip(*np.nonzero(carries), strict=True)]
    return accessions, dense.astype(np.float32), carries, terms(rows)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_enrichment_equals_scipy_pair_by_pair(seed):
    accessions, dense, carries, table = random_case(seed)
    known = carries.any(axis=1)
    if carries[known].sum(axis=0).max(initial=0) < 3:
        return
    found = enrich(csr_array(dense), accessions, table, level=0.3, min_proteins=3, fdr=1.0)
    highest = np.where(dense.max(axis=0) > 0, dense.max(axis=0), 1)
    active = (dense / highest > np.float32(0.3))[known]
    carries = carries[known]
    tested = [t for t in range(carries.shape[1]) if carries[:, t].sum() >= 3]
    expected, p_values = {}, []
    for f in range(active.shape[1]):
        if not active[:, f].any():
            continue
        for t in tested:
            both = int((active[:, f] & carries[:, t]).sum())
            n, k = int(active[:, f].sum()), int(carries[:, t].sum())
            over = both * len(active) > n * k
            p = hypergeom.sf(both - 1, len(active), k, n) if over else 1.0
            p_values.append(p)
            if over:
                expected[f, f"t{t}"] = (both, n, k, p, len(p_values) - 1)
    q = false_discovery_control(p_values)
    assert {(r["latent"], r["concept"]) for r in found.rows(named=True)} == set(expected)
    for row in found.rows(named=True):
        both, n, k, p, index = expected[row["latent"], row["concept"]]
        assert (row["n_both"], row["n_active"], row["n_concept"]) == (both, n, k)
        assert 10 ** row["log10_p"] == pytest.approx(p)
        assert row["q"] == pytest.approx(q[index])
        assert row["information"] == pytest.approx(-np.log2(k / len(active)))


def planted():
    accessions = [f"P{i}" for i in range(100)]
    dense = np.zeros((100, 3), dtype=np.float32)
    dense[:20, 0] = 10
    dense[20:, 0] = 0.5  # a weak background that is not a firing
    dense[20:, 1] = 1
    table = terms(
        [(f"P{i}", "kinase") for i in range(20)] + [(a, "protein") for a in accessions]
        + [("P0", "once")]
    )  # fmt: skip
    return csr_array(dense), accessions, table


def test_a_weak_activation_is_not_a_firing_and_a_depleted_term_not_a_finding():
    # Public code takes every non-zero activation as active, and counts depleted terms.
    latents, accessions, table = planted()
    pairs = enrich(latents, accessions, table)
    assert pairs.select("latent", "concept").rows() == [(0, "kinase")]
    assert pairs["n_active"].to_list() == [20]


def test_random_terms_tie_nothing():
    latents, accessions, table = planted()
    shuffled = shuffle_terms(table, accessions, 0)
    assert sorted(shuffled["concept"]) == sorted(table["concept"])
    assert enrich(latents, accessions, shuffled).height == 0


def test_a_level_that_is_no_share_is_refused():
    latents, _, _ = planted()
    with pytest.raises(InputError, match="share of the latent's maximum"):
        active_proteins(latents, np.ones(3), 1.5)
