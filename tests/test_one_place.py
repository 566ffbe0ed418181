"""Facts that stand in one place of the code, and the one that a second language repeats."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from plmsae.concepts.association.tables import FOUND
from plmsae.proteins.alphabet import AMINO_ACIDS

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "plmsae").rglob("*.py"))


def strings(path: Path) -> list[str]:
    """Return the strings of a module that are no docstrings."""
    tree = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    docs = {id(node.value) for node in tree if isinstance(node, ast.Expr)}
    constants = [n for n in tree if isinstance(n, ast.Constant) and id(n) not in docs]
    return [n.value for n in constants if isinstance(n.value, str)]


@pytest.mark.parametrize(
    ("text", "home"),
    [
        (AMINO_ACIDS, "proteins/alphabet.py"),
        ("plms.yaml", "plm/catalogue.py"),
        ("ae_unnormalized.pt", "sae/importing/hub.py"),
        (r"\bName=([^;{]+)", "concepts/labels/names.py"),
    ],
)
def test_a_fact_stands_in_one_module(text: str, home: str) -> None:
    found = [path for path in MODULES if any(text in string for string in strings(path))]
    assert [path.relative_to(ROOT / "plmsae").as_posix() for path in found] == [home]


def test_a_closed_choice_is_declared_once() -> None:
    declared: dict[tuple[str, ...], list[str]] = {}
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        for inner in re.findall(r"\bLiteral\[([^\]]+)\]", text):
            choices = tuple(sorted(re.findall(r'"([^"]*)"', inner)))
            if len(choices) > 1:
                declared.setdefault(choices, []).append(path.relative_to(ROOT).as_posix())
    # What Claude is asked for is declared in the schema that is sent, which stands by itself.
    assert [choices for choices, where in declared.items() if len(where) > 1] == [
        ("high", "low", "medium")
    ]


def test_what_counts_as_found_is_decided_in_one_function() -> None:
    compared = [path for path in MODULES if re.search(r"[<>]=? FOUND\b", path.read_text("utf-8"))]
    # The second asks when chance alone would pass, of the same bound.
    assert [path.stem for path in compared] == ["tables", "property_columns"]


def test_the_lengths_of_an_answer_are_declared_once() -> None:
    declared = [p for p in MODULES if re.search(r'"activation_rule": *[0-9]', p.read_text("utf-8"))]
    assert [path.stem for path in declared] == ["answers"]


def test_the_pages_of_the_atlas_use_the_same_bound_for_a_found_concept() -> None:
    source = (ROOT / "frontend" / "src" / "map.tsx").read_text(encoding="utf-8")
    assert re.findall(r"const FOUND = ([0-9.]+);", source) == [f"{FOUND:g}"]
