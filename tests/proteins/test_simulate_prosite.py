"""PROSITE patterns: what is read, what is refused, and that what is drawn is accepted."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.core.errors import InputError
from plmsae.proteins.simulate.alphabet import ALPHABET
from plmsae.proteins.simulate.decoys import DECOYS
from plmsae.proteins.simulate.motifs import MOTIFS
from plmsae.proteins.simulate.prosite import compile_pattern

letters = st.text(st.sampled_from(ALPHABET), min_size=1, max_size=6)
places = st.one_of(
    st.just("x"),
    st.sampled_from(ALPHABET),
    letters.map("[{}]".format),
    letters.map("{{{}}}".format),
)
repeats = st.one_of(
    st.just(""),
    st.integers(1, 5).map("({})".format),
    st.tuples(st.integers(0, 3), st.integers(1, 4)).map(lambda t: f"({t[0]},{t[0] + t[1]})"),
)
patterns = st.lists(st.tuples(places, repeats).map("".join), min_size=1, max_size=8).map("-".join)


@given(patterns, st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_every_stretch_drawn_from_a_pattern_matches_its_regex(text, seed):
    pattern = compile_pattern(text)
    drawn = pattern.sample(np.random.default_rng(seed))
    assert re.fullmatch(pattern.body, drawn)


@given(patterns)
@settings(max_examples=40, deadline=None)
def test_the_regex_accepts_exactly_the_lengths_that_the_units_allow(text):
    pattern = compile_pattern(text)
    rng = np.random.default_rng(0)
    lengths = {len(pattern.layout(rng)) for _ in range(20)}
    fixed = sum(extra == 0 for extra in pattern.shape)
    assert min(lengths) >= fixed
    assert max(lengths) <= fixed + sum(pattern.shape)
    assert not re.fullmatch(pattern.body, "A" * (fixed + sum(pattern.shape) + 1))


@pytest.mark.parametrize(
    ("text", "matches", "misses"),
    [
        ("[AG]-x(4)-G-K-[ST]", "GPPGTGKT", "GPPGTGRT"),
        ("N-{P}-[ST]-{P}", "NGTA", "NPTA"),
        ("C-x(2,4)-C-x(3)-[LIVMFYWC]-x(8)-H-x(3,5)-H.", "CAACAAALAAAAAAAAHAAAH", "CACAAAL"),
        ("[KRHQSA]-[DENQ]-E-L>", "AAAKDEL", "KDELA"),
        ("<M-x(0,2)-K", "MAK", "AMK"),
    ],
)
def test_known_patterns_accept_and_refuse_as_prosite_says(text, matches, misses):
    regex = compile_pattern(text).regex
    assert regex.search(matches)
    assert not regex.search(misses)


def test_a_wild_place_accepts_the_letters_of_real_sequences_that_are_no_standard_residue():
    assert compile_pattern("A-x-C").regex.search("AUC")


@pytest.mark.parametrize(
    "text", ["", "[AG]x(4)", "B", "X-A", "[AG", "A(4,2)", "A(0)", "x(201)", "[G>]", "A--C", "{}"]
)
def test_a_pattern_that_cannot_be_read_is_refused_with_itself_in_the_message(text):
    with pytest.raises(InputError, match=re.escape(repr(text))):
        compile_pattern(text)


@pytest.mark.parametrize(
    ("name", "pattern", "consensus"),
    [
        (item.name, item.pattern, item.consensus)
        for item in (*MOTIFS.values(), *DECOYS.values())
        if item.consensus
    ],
)
def test_a_consensus_has_the_shape_of_its_pattern_and_lies_inside_it(name, pattern, consensus):
    law, taste = compile_pattern(pattern), compile_pattern(consensus)
    assert law.shape == taste.shape, name
    assert (law.at_start, law.at_end) == (taste.at_start, taste.at_end)
    wild = taste.masks.all(axis=1)
    assert (law.masks | ~taste.masks)[~wild].all(), name
