import numpy as np
import polars as pl
import pytest
from conftest_concepts import SCHEMA, label_table, make_world
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.core.errors import InputError

PROTEINS = (["A", "B", "C"], [10, 5, 8])


def test_positions_become_rows_of_the_stack():
    table = label_table([("B", 2, 4, "x", "span"), ("A", 10, 10, "y", "site")])
    labels = build_residue_labels(table, *PROTEINS)
    assert labels.concepts == ("x", "y")
    assert labels.kinds == ["span", "site"]
    assert labels.offsets_P1.tolist() == [0, 10, 15, 23]
    assert labels.concept_I.tolist() == [1, 0]
    assert labels.start_I.tolist() == [9, 11]
    assert labels.end_I.tolist() == [10, 14]
    assert labels.protein_I.tolist() == [0, 1]


def test_overlapping_instances_stay_apart_and_their_residues_count_once():
    # A public pipeline overwrites the instance ids of overlapping annotations.
    table = label_table([("A", 1, 6, "x", "span"), ("A", 4, 9, "x", "span")])
    labels = build_residue_labels(table, *PROTEINS)
    assert labels.instances_C().tolist() == [2]
    assert labels.residues_C().tolist() == [9]
    assert labels.mask_CN().toarray().sum() == 9


def test_instances_of_neighbouring_proteins_and_concepts_do_not_merge():
    table = label_table(
        [("A", 1, 10, "x", "span"), ("B", 1, 5, "x", "span"), ("A", 1, 3, "y", "span")]
    )
    labels = build_residue_labels(table, *PROTEINS)
    assert labels.residues_C().tolist() == [15, 3]
    assert labels.proteins_C().tolist() == [2, 1]


def test_a_row_that_is_there_twice_counts_once():
    table = label_table([("A", 1, 6, "x", "span")] * 2)
    assert build_residue_labels(table, *PROTEINS).n_instances == 1


def test_labels_of_other_proteins_are_listed():
    table = label_table([("A", 1, 6, "x", "span"), ("Z", 1, 6, "x", "span")])
    labels = build_residue_labels(table, *PROTEINS)
    assert labels.unmatched == ("Z",)
    assert labels.n_instances == 1


def test_a_table_of_other_proteins_altogether_is_refused():
    table = label_table([("sp|A|X", 1, 6, "x", "span")])
    with pytest.raises(InputError, match=r"no label belongs to any.*sp\|A\|X"):
        build_residue_labels(table, *PROTEINS)


@pytest.mark.parametrize(("start", "end"), [(0, 3), (3, 11), (5, 4), (None, 4), (4, None)])
def test_positions_outside_the_protein_are_refused_with_its_name(start, end):
    table = label_table([("A", 1, 2, "x", "span"), ("A", start, end, "x", "span")])
    with pytest.raises(InputError, match=f"A: label 'x'.*10 residues.*{start}\\.\\.{end}"):
        build_residue_labels(table, *PROTEINS)


def test_a_concept_of_two_kinds_is_refused():
    table = label_table([("A", 1, 2, "x", "span"), ("B", 1, 1, "x", "site")])
    with pytest.raises(InputError, match="x: a concept is a site in one row and a span"):
        build_residue_labels(table, *PROTEINS)


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match=r"site or span.*'domain'"):
        build_residue_labels(label_table([("A", 1, 2, "x", "domain")]), *PROTEINS)


def test_a_missing_column_is_named():
    table = label_table([("A", 1, 2, "x", "span")]).drop("kind")
    with pytest.raises(InputError, match="lacks the column kind"):
        build_residue_labels(table, *PROTEINS)


def test_a_protein_listed_twice_is_refused():
    with pytest.raises(InputError, match="B: a protein is listed twice"):
        build_residue_labels(label_table([]), ["B", "A", "B"], [3, 3, 3])


def test_an_empty_table_gives_no_concepts():
    labels = build_residue_labels(pl.DataFrame(schema=SCHEMA), *PROTEINS)
    assert (labels.n_concepts, labels.n_instances, labels.n_rows) == (0, 0, 23)
    assert labels.mask_CN().shape == (0, 23)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_mask_chunk_and_take_agree_with_the_table(seed):
    world = make_world(seed)
    labels = build_residue_labels(world.table, world.accessions, world.lengths)

    def obvious(proteins):
        parts = []
        for p in proteins:
            mask = np.zeros((labels.n_concepts, world.lengths[p]), int)
            for accession, start, end, concept, _ in world.table.iter_rows():
                if accession == world.accessions[p]:
                    mask[labels.concepts.index(concept), start - 1 : end] = 1
            parts.append(mask)
        return np.concatenate(parts, axis=1)

    everything = list(range(len(world.accessions)))
    assert np.array_equal(labels.mask_CN().toarray(), obvious(everything))
    assert np.array_equal(labels.chunk(1, 4).mask_CN().toarray(), obvious([1, 2, 3]))
    chosen = np.random.default_rng(seed).permutation(everything)[:3]
    taken = labels.take(chosen)
    assert np.array_equal(taken.mask_CN().toarray(), obvious(chosen))
    assert np.all(np.diff(taken.start_I) >= 0)
    assert taken.n_instances == np.isin(labels.protein_I, chosen).sum()
    kept = np.arange(labels.n_concepts) % 2 == 0
    fewer = labels.keep_concepts(kept)
    assert np.array_equal(fewer.mask_CN().toarray(), obvious(everything)[kept])
