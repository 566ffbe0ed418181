from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.scoring.overlap import Relation, overlaps

Place = tuple[str, int, int, str]
SCHEMA = {"accession": pl.String, "start": pl.Int32, "end": pl.Int32, "concept": pl.String}

places = st.lists(
    st.builds(
        lambda accession, start, length, concept: (accession, start, start + length, concept),
        st.sampled_from(["P1", "P2"]),
        st.integers(1, 12),
        st.integers(0, 4),
        st.sampled_from(["Domain", "Domain: SH3", "Domain: SH", "Domain: PH", "Do", "Site"]),
    ),
    max_size=10,
)


def frame(rows: list[Place]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def is_a(member: str, group: str) -> bool:
    return member == group or member.split(": ")[0] == group


def slow(row: Place, others: list[Place], relation: Relation) -> bool:
    for other in others:
        shares = set(range(row[1], row[2] + 1)) & set(range(other[1], other[2] + 1))
        fits = {
            "is_a": is_a(row[3], other[3]),
            "covers": is_a(other[3], row[3]),
            "related": is_a(row[3], other[3]) or is_a(other[3], row[3]),
        }[relation]
        if row[0] == other[0] and shares and fits:
            return True
    return False


@settings(max_examples=150, deadline=None)
@given(places, places, st.sampled_from(["is_a", "covers", "related"]))
def test_overlaps_equal_the_residues_in_common(
    rows: list[Place], others: list[Place], relation: Relation
) -> None:
    found = overlaps(frame(rows), frame(others), relation=relation).to_list()
    assert found == [slow(row, others, relation) for row in rows]


@pytest.mark.parametrize(
    ("mine", "theirs", "relation", "expected"),
    [
        ("Domain: SH3", "Domain", "is_a", True),
        ("Domain: SH3", "Domain", "covers", False),
        ("Domain", "Domain: SH3", "covers", True),
        ("Domain: SH3", "Domain: SH", "related", False),  # a prefix is not a class
    ],
)
def test_a_class_is_what_stands_before_the_colon(
    mine: str, theirs: str, relation: Relation, expected: bool
) -> None:
    rows, others = frame([("P1", 1, 5, mine)]), frame([("P1", 5, 9, theirs)])
    assert overlaps(rows, others, relation=relation).to_list() == [expected]
