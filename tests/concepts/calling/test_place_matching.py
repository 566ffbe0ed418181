"""The rule on tables of places is the rule on rows; and one thing is called once."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plmsae.concepts.calling.calls import CALL_SCHEMA
from plmsae.concepts.calling.matching import match_calls
from plmsae.concepts.calling.place_matching import found_labels, right_calls
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.scoring.hierarchy import implied_concepts, keep_most_specific
from plmsae.scoring.overlap import overlaps

LENGTH = 40
SCHEMA = {"accession": pl.String, "start": pl.Int32, "end": pl.Int32, "concept": pl.String}


def places(*rows: tuple[str, int, int, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(seed=st.integers(0, 10**6))
@example(seed=130667)  # A call that fits two labels equally well.
@settings(max_examples=80, deadline=None)
def test_places_are_judged_like_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ["A", "B"]
    kinds = {"x": "span", "y": "site"}
    labels, calls = [], []
    for name in names:
        for concept, kind in kinds.items():
            for _ in range(int(rng.integers(0, 5))):
                start = int(rng.integers(1, LENGTH))
                end = min(start + int(rng.integers(0, 15)), LENGTH)
                labels.append((name, start, end, concept, kind))
            cuts = np.unique(rng.integers(0, LENGTH + 1, 8))
            for a, b in cuts[: len(cuts) // 2 * 2].reshape(-1, 2).tolist():
                calls.append((name, a + 1, b if kind == "span" else a + 1, concept))
    table = pl.DataFrame(labels, schema={**SCHEMA, "kind": pl.String}, orient="row").unique(
        maintain_order=True
    )
    if table.is_empty():
        return
    laid = build_residue_labels(table, names, [LENGTH] * 2)
    calls = [row for row in calls if row[3] in laid.concepts]
    rows = [(names.index(n), a, b, c, 1.0, 0) for n, a, b, c in calls]
    matches = match_calls(pl.DataFrame(rows, schema=CALL_SCHEMA, orient="row"), laid)
    assert right_calls(places(*calls), table).to_list() == matches.right_K.tolist()
    found = {
        (laid.accessions[p], int(s - laid.offsets_P1[p] + 1), int(e - laid.offsets_P1[p]), c): f
        for p, s, e, c, f in zip(
            laid.protein_I, laid.start_I, laid.end_I,
            [laid.concepts[c] for c in laid.concept_I], matches.found_I.tolist(), strict=True,
        )
    }  # fmt: skip
    expected = [found[row] for row in table.select(list(SCHEMA)).rows()]
    assert found_labels(table, places(*calls)).to_list() == expected


def test_of_two_labels_that_fit_equally_well_the_first_in_the_protein_is_found() -> None:
    labels = places(("P", 21, 33, "x"), ("P", 26, 38, "x"))
    call = places(("P", 29, 33, "x"))
    assert found_labels(labels, call).to_list() == [True, False]
    assert found_labels(labels.reverse(), call).to_list() == [False, True]


def test_a_call_of_a_class_is_right_on_a_member_and_finds_its_own_label_only() -> None:
    labels = places(("P", 1, 20, "Domain: SH3"), ("P", 1, 20, "Domain"), ("P", 30, 40, "Site"))
    call = places(("P", 5, 20, "Domain"))
    assert right_calls(call, labels.filter(pl.col("concept") != "Domain")).to_list() == [True]
    assert found_labels(labels, call).to_list() == [False, True, False]
    member = places(("P", 5, 20, "Domain: SH3"))
    assert found_labels(labels, member).to_list() == [True, True, False]
    assert right_calls(member, labels.filter(concept="Domain")).to_list() == [False]


def test_a_label_under_two_names_makes_one_of_two_calls_right() -> None:
    labels = places(("P", 1, 20, "Domain: SH3"), ("P", 1, 20, "Domain"))
    calls = places(("P", 1, 9, "Domain"), ("P", 10, 20, "Domain"))
    assert right_calls(calls, labels).to_list() == [False, True]


def test_a_class_stays_only_where_no_member_is_called() -> None:
    calls = places(
        ("P", 1, 50, "Domain"),
        ("P", 40, 60, "Domain: SH3"),
        ("P", 70, 90, "Domain"),
        ("Q", 1, 50, "Domain"),
        ("P", 40, 60, "Do"),
        ("P", 1, 90, "GO:0005634"),
    )
    kept = keep_most_specific(calls).with_columns(implied=implied_concepts())
    assert kept.select("accession", "start", "concept", "implied").rows() == [
        ("P", 40, "Domain: SH3", ["Domain"]),
        ("P", 70, "Domain", []),
        ("Q", 1, "Domain", []),
        ("P", 40, "Do", []),
        ("P", 1, "GO:0005634", []),
    ]


places_of_classes = st.lists(
    st.builds(
        lambda accession, start, length, concept: (accession, start, start + length, concept),
        st.sampled_from(["P1", "P2"]),
        st.integers(1, 12),
        st.integers(0, 4),
        st.sampled_from(["Domain", "Domain: SH3", "Domain: PH", "Site", "Site: A"]),
    ),
    max_size=12,
)


@settings(max_examples=80, deadline=None)
@given(places_of_classes)
def test_no_class_is_called_beside_its_member_and_nothing_is_lost(
    rows: list[tuple[str, int, int, str]],
) -> None:
    calls = places(*rows)
    kept = keep_most_specific(calls).with_columns(implied=implied_concepts())
    said = kept.explode("implied").filter(pl.col("implied").is_not_null())
    said = said.with_columns(concept="implied").select(list(SCHEMA))
    assert not overlaps(kept.select(list(SCHEMA)), said, relation="same").any()
    # Every call that is gone is implied by one that stayed.
    gone = calls.join(kept, on=list(SCHEMA), how="anti")
    assert overlaps(gone, said, relation="same").all()
