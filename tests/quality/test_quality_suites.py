"""Suites: the reviewed files are sound, and bad ones are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from plmsae.core.errors import InputError
from plmsae.quality.context import Context
from plmsae.quality.derived import DERIVED
from plmsae.quality.engine import Engine
from plmsae.quality.measures import MEASURES
from plmsae.quality.plan import make_plan
from plmsae.quality.suites import _TYPES, KINDS, load_suite


@pytest.mark.parametrize("kind", KINDS)
def test_a_reviewed_suite_loads_and_great_expectations_takes_every_line(kind: str) -> None:
    suite = load_suite(kind)
    engine = Engine(suite)
    for expectation in suite.expectations:
        engine._translate(expectation)
        assert expectation.why.endswith(".")
        assert expectation.expected
    assert any(expectation.severity == "critical" for expectation in suite.expectations)
    assert set(suite.identify) <= set(suite.required)


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_in_a_reviewed_suite_can_be_computed(kind: str) -> None:
    suite = load_suite(kind)
    plan = make_plan(suite, [*suite.required, *suite.optional], Context())
    without_context = {name for name, why in plan.skipped.items() if "to compare with" in why}
    assert set(plan.skipped) == without_context


@pytest.mark.parametrize("kind", KINDS)
def test_no_measure_or_derived_column_hides_a_column(kind: str) -> None:
    suite = load_suite(kind)
    assert not (set(suite.required) | set(suite.optional)) & (set(DERIVED) | set(MEASURES))
    assert not set(DERIVED) & set(MEASURES)


def test_every_measure_and_derived_column_is_used() -> None:
    used = {
        column
        for kind in KINDS
        for expectation in load_suite(kind).expectations
        for column in expectation.columns
    }
    assert set(MEASURES) | set(DERIVED) <= used


def suite_file(folder: Path, **changes: object) -> Path:
    expectation = {
        "name": "a",
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "start", "min_value": 1},
        "severity": "critical",
        "why": "Because.",
    }
    expectation.update(changes.pop("expectation", {}))  # type: ignore[arg-type]
    suite = {
        "kind": "labels",
        "columns": {"start": "integer"},
        "expectations": [{k: v for k, v in expectation.items() if v is not None}],
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({**suite, **changes}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "proteins"}, "the suite is not for labels"),
        ({"columns": {"start": "int"}}, "start: unknown column type"),
        ({"columns": ["start"]}, "columns is a mapping"),
        ({"expectations": []}, "needs a list"),
        ({"extra": 1}, "unknown key (found 'extra')"),
        ({"expectation": {"type": "expect_column_values_to_be_unique"}}, "type not allowed"),
        ({"expectation": {"type": "__import__"}}, "type not allowed"),
        ({"expectation": {"severity": "info"}}, "severity is critical or warning"),
        ({"expectation": {"why": None}}, "a: the expectation has no why"),
        ({"expectation": {"name": None}}, "expectation 1: the expectation has no name"),
        ({"expectation": {"kwargs": {"min_value": 1}}}, "lacks column"),
        ({"expectation": {"kwargs": {"column": "start", "mostly": 2}}}, "mostly lies in (0, 1]"),
        ({"expectation": {"kwargs": {"column": "start", "func": "x"}}}, "unknown key"),
    ],
)
def test_a_bad_suite_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = suite_file(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        load_suite("labels", path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_suite_that_is_code_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("!!python/object/apply:os.system ['touch " + str(tmp_path / "ran") + "']")
    with pytest.raises(InputError, match="not a YAML file"):
        load_suite("labels", path)
    assert not (tmp_path / "ran").exists()


def test_two_expectations_of_one_name_are_refused(tmp_path: Path) -> None:
    path = suite_file(tmp_path)
    raw = yaml.safe_load(path.read_text())
    raw["expectations"] *= 2
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(InputError, match="share a name"):
        load_suite("labels", path)


def test_arguments_great_expectations_refuses_are_told_in_one_line(tmp_path: Path) -> None:
    suite = load_suite("labels", suite_file(tmp_path, expectation={"kwargs": {"column": "start"}}))
    with pytest.raises(InputError, match="refuses the expectation") as caught:
        Engine(suite)._translate(suite.expectations[0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"column": "nothing", "min_value": 1}, "no column, derived column or measure"),
        ({"column": "n_models", "min_value": 1}, "no column, derived column or measure"),
    ],
)
def test_an_expectation_on_nothing_is_refused(
    tmp_path: Path, kwargs: dict[str, object], message: str
) -> None:
    suite = load_suite("labels", suite_file(tmp_path, expectation={"kwargs": kwargs}))
    with pytest.raises(InputError, match=message):
        make_plan(suite, ["start"], Context())


def test_the_allowed_types_are_those_whose_counts_add_up() -> None:
    for name in _TYPES:
        assert "unique" not in name
        assert "_mean_" not in name
        assert "median" not in name
