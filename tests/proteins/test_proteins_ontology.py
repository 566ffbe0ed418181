"""OBO files: terms, ancestors, depth, cycles."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.core.errors import InputError
from plmsae.proteins.ontology import Ontology, Term, read_obo

OBO = """format-version: 1.2
data-version: releases/2026-01-01

[Term]
id: GO:1
name: root
namespace: cellular_component

[Term]
id: GO:2
name: organelle ! not a comment in a name
namespace: cellular_component
alt_id: GO:22
is_a: GO:1 {source="x"} ! root

[Term]
id: GO:3
name: membrane
namespace: cellular_component
relationship: part_of GO:2 ! organelle
relationship: has_part GO:9 ! not followed
is_a: GO:1 ! root

[Term]
id: GO:4
name: inner membrane
namespace: cellular_component
is_a: GO:3 ! membrane

[Term]
id: GO:5
name: obsolete thing
is_obsolete: true
replaced_by: GO:4

[Term]
id: GO:6
name: obsolete other
is_obsolete: true

[Typedef]
id: part_of
name: part of
is_transitive: true
"""


def obo(folder: Path, text: str) -> Path:
    path = folder / "t.obo"
    path.write_text(text)
    return path


def test_terms_are_read_with_their_relations(tmp_path):
    ontology = read_obo(obo(tmp_path, OBO))
    assert len(ontology) == 6
    assert ontology.version == "releases/2026-01-01"
    assert ontology["GO:3"] == Term(
        id="GO:3",
        name="membrane",
        namespace="cellular_component",
        is_a=("GO:1",),
        part_of=("GO:2",),
    )
    assert ontology["GO:2"].is_a == ("GO:1",)


def test_ancestors_run_over_is_a_and_part_of_only(tmp_path):
    ontology = read_obo(obo(tmp_path, OBO))
    assert ontology.ancestors("GO:4") == {"GO:3", "GO:2", "GO:1"}
    assert ontology.ancestors("GO:1") == frozenset()
    assert [ontology.depth(f"GO:{n}") for n in (1, 2, 3, 4)] == [0, 1, 2, 3]


def test_old_ids_become_todays(tmp_path):
    ontology = read_obo(obo(tmp_path, OBO))
    assert ontology["GO:22"].id == "GO:2"
    assert ontology.resolve("GO:5") == "GO:4"
    assert ontology.resolve("GO:6") is None
    assert ontology.resolve("GO:77") is None
    assert "GO:6" not in ontology
    assert ontology.closure(["GO:22", "GO:77", "GO:6"]) == {"GO:2", "GO:1"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[Term]\nid: A\nis_a: B\n[Term]\nid: B\nis_a: C\n[Term]\nid: C\nis_a: A\n", "cycle"),
        ("[Term]\nid: A\nis_a: B\n[Term]\nid: B\nrelationship: part_of A\n", "cycle"),
        ("[Term]\nid: A\nis_a: A\n", "cycle"),
        ("[Term]\nid: A\n[Term]\nid: A\n", "occurs twice"),
        ("[Term]\nname: A\n[Term]\nid: B\n", "without an id"),
        ("format-version: 1.2\n", r"no \[Term\]"),
        ("what is this\n", "not a 'tag: value' line"),
    ],
)
def test_a_file_that_is_no_ontology_is_refused(tmp_path, text, what):
    with pytest.raises(InputError, match=what) as caught:
        read_obo(obo(tmp_path, text))
    assert "t.obo" in str(caught.value)


def test_a_cycle_is_named_by_its_terms(tmp_path):
    text = "[Term]\nid: A\nis_a: B\n[Term]\nid: B\nis_a: C\n[Term]\nid: C\nis_a: B\n"
    with pytest.raises(InputError) as caught:
        read_obo(obo(tmp_path, text))
    assert caught.value.value == "B -> C -> B"


def test_parents_that_a_slim_lacks_are_left_out_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        ontology = read_obo(obo(tmp_path, "[Term]\nid: A\nis_a: Z\n"))
    assert ontology.ancestors("A") == frozenset()
    assert "1 parents are not in it, such as Z" in caplog.text


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30))
@settings(max_examples=100, deadline=None)
def test_ancestors_equal_a_plain_walk(edges):
    # A parent always has the smaller number, so there is no cycle.
    parents = {n: sorted({min(e) for e in edges if max(e) == n and min(e) != n}) for n in range(12)}
    terms = [Term(id=str(n), is_a=tuple(map(str, above))) for n, above in parents.items()]
    ontology = Ontology(reversed(terms))

    def walk(n: int) -> set[int]:
        return set(parents[n]).union(*(walk(parent) for parent in parents[n]))

    def depth(n: int) -> int:
        return max((depth(parent) + 1 for parent in parents[n]), default=0)

    for n in range(12):
        assert ontology.ancestors(str(n)) == set(map(str, walk(n)))
        assert ontology.depth(str(n)) == depth(n)


def test_the_generic_slim_is_read(real_data):
    ontology = read_obo(real_data / "goslim_generic.obo")
    assert len(ontology) == 140
    assert ontology["GO:0005634"].name == "nucleus"
    assert ontology.ancestors("GO:0000228") >= {"GO:0005634", "GO:0005694"}


@pytest.mark.parametrize(
    "heading", ["[Term] ! a comment", "[ Term ]", "[Term]  ", "[term]", "[Term]!x"]
)
def test_a_heading_with_a_comment_still_opens_a_term(tmp_path, heading):
    ontology = read_obo(obo(tmp_path, f"[Term]\nid: A\n{heading}\nid: B\nis_a: A ! a\n"))
    assert ontology.ancestors("B") == {"A"}


def test_a_heading_that_is_not_closed_is_refused_with_its_line(tmp_path):
    with pytest.raises(InputError, match=r"line 3: not a heading such as \[Term\]"):
        read_obo(obo(tmp_path, "[Term]\nid: A\n[Term\nid: B\n"))


def test_a_line_that_ends_in_a_backslash_goes_on_in_the_next(tmp_path):
    text = (
        "! a comment may end in one \\\n[Term]\nid: A\nname: long \\\nname, \\\nof three\n"
        'def: "ends in an escaped one \\\\"\n[Term]\nid: B\nis_a: \\\n A\n'
    )
    ontology = read_obo(obo(tmp_path, text))
    assert ontology["A"].name == "long name, of three"
    assert ontology.ancestors("B") == {"A"}
    with pytest.raises(InputError, match="line 3: not a 'tag: value' line"):
        read_obo(obo(tmp_path, "[Term]\nid: A\nno \\\ncolon\n"))
