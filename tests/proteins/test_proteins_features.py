"""The feature syntax of UniProt, written and read."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.core.errors import InputError
from plmsae.proteins.features import Feature, parse_features, render_features


def parsed(cell: str) -> list[Feature]:
    return parse_features(cell, where="P1, column 'X'")


def test_features_with_and_without_qualifiers_are_read():
    cell = 'BINDING 12..30; /ligand="ATP"; /ligand_id="ChEBI:CHEBI:30616"; BINDING 5; SITE 7;'
    assert parsed(cell) == [
        Feature(
            key="BINDING",
            start=12,
            end=30,
            qualifiers={"ligand": "ATP", "ligand_id": "ChEBI:CHEBI:30616"},
        ),
        Feature(key="BINDING", start=5, end=5),
        Feature(key="SITE", start=7, end=7),
    ]


@pytest.mark.parametrize("cell", [None, "", "  "])
def test_an_empty_cell_has_no_features(cell):
    assert parse_features(cell, where="x") == []


@pytest.mark.parametrize(
    ("place", "start", "end", "fuzzy"),
    [
        ("<1..30", 1, 30, ("<", "")),
        ("1..>30", 1, 30, ("", ">")),
        ("?..30", None, 30, ("?", "")),
        ("1..?", 1, None, ("", "?")),
        ("?", None, None, ("?", "?")),
        ("?30", 30, 30, ("?", "?")),
        ("1..?25", 1, 25, ("", "?")),
        ("<1", 1, 1, ("<", "<")),
    ],
)
def test_fuzzy_ends_are_kept_as_such(place, start, end, fuzzy):
    (feature,) = parsed(f"SIGNAL {place}")
    assert (feature.start, feature.end) == (start, end)
    assert (feature.start_fuzzy, feature.end_fuzzy) == fuzzy


def test_a_feature_of_another_isoform_says_so():
    feature, plain = parsed('VARIANT P12345-2:5..8; /note="x"; VARIANT 5')
    assert (feature.isoform, feature.start, feature.end) == ("P12345-2", 5, 8)
    assert plain.isoform == ""


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"a; /b=c; D 5"', "a; /b=c; D 5"),
        ('"a ""b"" c"', 'a "b" c'),
        ('""', ""),
        ('""""', '"'),
        ('"the "KMSKS" region"', 'the "KMSKS" region'),
        ("bare text", "bare text"),
    ],
)
def test_quoted_values_hold_any_text(written, value):
    first, second = parsed(f"SITE 3; /note={written}; SITE 4")
    assert first.qualifiers == {"note": value}
    assert second.start == 4


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("BINDING", "a feature key"),
        ("BINDING x", "a position"),
        ("BINDING 5..", "a position"),
        ("BINDING 0", "positions start at 1"),
        ("BINDING 9..3", "ends before it starts"),
        ("BINDING 5 6", "before 2019"),
        ("BINDING 5 x", "';'"),
        ('BINDING 5; /note="open', "never closed"),
        ('/note="x"', "a feature key"),
        ('BINDING 5; /="x"', "a qualifier"),
        ("SITE 12345678901234567890", "';'"),
        ("SITE A:1..B:2", "two different sequences"),
    ],
)
def test_what_does_not_follow_the_syntax_is_one_clear_error(cell, what):
    with pytest.raises(InputError, match="P1, column 'X': ") as caught:
        parsed(cell)
    assert what in caught.value.what


fuzzy = st.sampled_from(["", "<", ">", "?"])


@st.composite
def features(draw: st.DrawFn) -> Feature:
    start_fuzzy, end_fuzzy = draw(fuzzy), draw(fuzzy)
    start, end = sorted(draw(st.tuples(st.integers(1, 40_000), st.integers(1, 40_000))))
    unknown_start = start_fuzzy == "?" and draw(st.booleans())
    unknown_end = end_fuzzy == "?" and draw(st.booleans())
    return Feature(
        key=draw(st.sampled_from(["BINDING", "NP_BIND", "X1"])),
        start=None if unknown_start else start,
        end=None if unknown_end else end,
        start_fuzzy=start_fuzzy,
        end_fuzzy=end_fuzzy,
        qualifiers=draw(
            st.dictionaries(
                st.sampled_from(["note", "ligand", "ligand_id", "x1"]),
                st.text('abc "/;=. \n\t', max_size=15) | st.text(max_size=8),
                max_size=3,
            )
        ),
        isoform=draw(st.sampled_from(["", "P12345-2"])),
    )


@given(st.lists(features(), max_size=5))
@settings(max_examples=100, deadline=None)
def test_what_is_rendered_is_parsed(found):
    assert parsed(render_features(found)) == found


@given(st.text('ABC_ /;="123.<>?:-\n', max_size=60) | st.text(max_size=60))
@settings(max_examples=500, deadline=None)
def test_arbitrary_text_gives_features_or_an_input_error(cell):
    try:
        found = parsed(cell)
    except InputError:
        return
    assert all(isinstance(one, Feature) for one in found)


@pytest.mark.parametrize(
    "cell",
    [
        "SITE " + "A" * 200_000,
        'SITE 1; /note="' + '" ' * 100_000,
        'SITE 1; /note="' + '"' * 200_001,
        "SITE 1" + " " * 200_000 + "x",
        "SITE 1;" * 1 + "; " * 100_000,
    ],
)
def test_long_nonsense_takes_no_time(cell):
    begun = time.process_time()
    with contextlib.suppress(InputError):
        parsed(cell)
    assert time.process_time() - begun < 1
