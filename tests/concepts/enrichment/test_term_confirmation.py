import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.stats import false_discovery_control, hypergeom

from plmsae.concepts.baselines.protein_baselines import composition, matched_units, shuffle_within
from plmsae.concepts.enrichment.enrichment import active_proteins
from plmsae.concepts.enrichment.term_confirmation import choose_level, confirm_terms, lay_out
from plmsae.core.errors import InputError

FDR = 0.1937  # no ratio of small counts hits it exactly


def terms(rows):
    schema = {"accession": pl.String, "concept": pl.String, "namespace": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def random_case(seed, n=60, n_units=5):
    """Return proteins whose first unit follows the first term; two namespaces, some unknown."""
    rng = np.random.default_rng(seed)
    accessions = [f"P{i}" for i in range(n)]
    split = np.where(rng.random(n) < 0.5, "select", "report")
    clusters = np.where(split == "select", rng.integers(0, 9, n), 100 + rng.integers(0, 9, n))
    active = rng.random((n, n_units)) < rng.random(n_units) * 0.8
    active[:, -1] = False
    carries = {"a": rng.random((n, 4)) < rng.random(4), "b": rng.random((n, 3)) < 0.2}
    carries["a"][:, 0] = active[:, 0] ^ (rng.random(n) < 0.15)
    rows = [
        (accessions[p], f"{space}{t}", space)
        for space, mask in carries.items()
        for p, t in zip(*np.nonzero(mask), strict=True)
    ]
    return accessions, split, clusters, active, carries, terms(rows)


def reference(split, clusters, active, carries, least, fdr):
    """Do everything one pair at a time; return the chosen pairs and what became of them."""

    def one(side, mask, f, t):
        known = (split == side) & mask.any(axis=1)
        a, c = active[known, f], mask[known, t]
        both, total = int((a & c).sum()), int(known.sum())
        over = both * total > int(a.sum()) * int(c.sum())
        p = hypergeom.sf(both - 1, total, int(c.sum()), int(a.sum())) if over else 1.0
        return p, (int(a.sum()), int(c.sum()), both), len(set(clusters[known][a & c]))

    tests = []
    for space, mask in carries.items():
        known = (split == "select") & mask.any(axis=1)
        if not ((split == "report") & mask.any(axis=1)).any():
            continue
        for t in range(mask.shape[1]):
            if not least <= mask[known, t].sum() < known.sum():
                continue
            tests += [
                (f, f"{space}{t}", *one("select", mask, f, t)[:2], mask, t)
                for f in range(active.shape[1])
                if active[known, f].any()
            ]
    if not tests:
        return None
    q = false_discovery_control([row[2] for row in tests])
    chosen = [(row, q_one) for row, q_one in zip(tests, q, strict=True) if q_one <= fdr]
    again = [one("report", row[4], row[0], row[5]) for row, _ in chosen]
    q_again = false_discovery_control([p for p, _, _ in again]) if again else []
    return {
        (row[0], row[1]): (row[3], q_one, counts, families, q_two)
        for (row, q_one), (_, counts, families), q_two in zip(chosen, again, q_again, strict=True)
    }


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_confirmation_equals_scipy_pair_by_pair(seed):
    accessions, split, clusters, active, carries, table = random_case(seed)
    expected = reference(split, clusters, active, carries, 4, FDR)
    if expected is None:
        return
    layout = lay_out(table, accessions, split, clusters, min_proteins=4)
    found = confirm_terms(csr_array(active.astype(np.int32)), layout, fdr=FDR)
    rows = {(r["latent"], r["concept"]): r for r in found.pairs.rows(named=True)}
    assert set(rows) == set(expected)
    for key, (counts_select, q_select, counts, families, q) in expected.items():
        row = rows[key]
        select = ("n_active_select", "n_concept_select", "n_both_select")
        assert tuple(row[name] for name in select) == counts_select
        assert (row["n_active"], row["n_concept"], row["n_both"]) == counts
        assert row["n_clusters"] == families
        assert row["q_select"] == pytest.approx(q_select)
        assert row["q"] == pytest.approx(q)
        assert row["confirmed"] == (q <= FDR)


def planted():
    """Return 200 proteins, one in five a kinase; a quarter of the latents know it."""
    rng = np.random.default_rng(0)
    accessions = [f"P{i}" for i in range(200)]
    split = np.where(np.arange(200) < 100, "select", "report")
    kinase = np.arange(200) % 5 == 0
    dense = (rng.random((200, 8)) * (rng.random((200, 8)) < 0.2)).astype(np.float32)
    dense[:, 0] = np.where(kinase, 5, 0.3)  # a weak background that is no firing
    dense[:, 1] = kinase * 2
    rows = [(a, "kinase" if k else "other", "x") for a, k in zip(accessions, kinase, strict=True)]
    rows += [(a, "protein", "x") for a in accessions]
    return csr_array(dense), accessions, split, terms(rows)


def test_planted_terms_are_confirmed_and_nothing_among_shuffled_labels():
    latents, accessions, split, table = planted()
    layout = lay_out(table, accessions, split)
    assert layout.n_terms == 2  # what all carry is not tested
    level, scale = choose_level(latents, layout)
    assert level == 0.15
    active = active_proteins(latents, scale, level)
    found = confirm_terms(active, layout)
    assert found.confirmed.select("latent", "concept").rows() == [(0, "kinase"), (1, "kinase")]
    assert found.confirmed["n_both"].to_list() == [20, 20]
    assert found.confirmed["odds"].min() > 1000
    for seed in range(5):
        shuffled = shuffle_within(table, accessions, split, seed)
        assert sorted(shuffled["concept"]) == sorted(table["concept"])
        assert confirm_terms(active, lay_out(shuffled, accessions, split)).confirmed.is_empty()


def test_what_holds_only_where_it_was_chosen_is_not_confirmed():
    latents, accessions, split, table = planted()
    dense = latents.toarray()
    dense[100:, 0] = np.random.default_rng(1).permutation(dense[100:, 0])
    layout = lay_out(table, accessions, split)
    _, scale = choose_level(csr_array(dense), layout)
    found = confirm_terms(active_proteins(csr_array(dense), scale, 0.15), layout)
    assert found.pairs.select("latent", "confirmed").rows() == [(0, False), (1, True)]


def test_the_scale_and_the_level_are_those_of_the_select_proteins():
    latents, accessions, split, table = planted()
    louder = latents.toarray()
    louder[100:] *= 50
    layout = lay_out(table, accessions, split)
    assert choose_level(csr_array(louder), layout)[1].max() == 5


def test_proteins_without_a_term_of_a_namespace_are_no_background_for_it():
    latents, accessions, split, table = planted()
    dense = latents.toarray()
    more = np.concatenate([dense, np.zeros((100, 8), dtype=np.float32)])
    names = [*accessions, *(f"U{i}" for i in range(100))]
    extra = terms([(f"U{i}", f"y{i % 3}", "y") for i in range(100)])
    sides = np.concatenate([split, np.repeat(["select", "report"], 50)])
    both = lay_out(pl.concat([table, extra]), names, sides)
    one = confirm_terms(
        active_proteins(latents, dense.max(0), 0.15), lay_out(table, accessions, split)
    )
    two = confirm_terms(active_proteins(csr_array(more), dense.max(0), 0.15), both)
    counts = ["latent", "concept", "n_active", "n_concept", "n_both"]
    assert one.confirmed.select(counts).equals(two.confirmed.select(counts))


def test_a_family_in_both_splits_and_terms_too_rare_are_refused():
    _, accessions, split, table = planted()
    with pytest.raises(InputError, match="both in 'select' and in 'report'"):
        lay_out(table, accessions, split, np.arange(200) % 150)
    with pytest.raises(InputError, match="no term is carried by 90 of the proteins"):
        lay_out(table, accessions, split, min_proteins=90)


def test_units_get_the_sizes_of_latents_and_their_own_highest_proteins():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    like = csr_array((rng.random((50, 40)) < rng.random(40) * 0.5).astype(np.int32))
    select = np.arange(30)
    units = matched_units(x, like, select)
    sizes = np.bincount(like[select].indices, minlength=40)
    counts = np.bincount(units[select].indices, minlength=6)
    assert set(counts) <= set(sizes[sizes > 0])
    assert counts.min() < np.median(sizes) < counts.max()
    signed = np.concatenate([x, -x], axis=1)
    for unit, count in enumerate(counts):
        bound = np.sort(signed[select, unit])[-count - 1]
        assert np.array_equal(units.toarray()[:, unit] > 0, signed[:, unit] > bound)


def test_units_that_do_not_vary_are_active_nowhere():
    like = csr_array(np.eye(6, dtype=np.int32))
    assert matched_units(np.ones((6, 2)), like, np.arange(6)).nnz == 0


def test_composition_is_shares_and_length():
    rows = composition(["AAC", "W" * 10])
    assert rows[0, :2] == pytest.approx([2 / 3, 1 / 3])
    assert rows[1, 18] == 1
    assert rows[:, -1] == pytest.approx(np.log([3, 10]))
