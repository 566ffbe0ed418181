"""The reviewed expectation suites: ``registry/suites/<kind>.yaml`` read into typed objects.

A suite names the columns a frame must have and the expectations it must meet. An expectation is
one of Great Expectations' row-wise types: those are the ones whose counts can be added over the
parts of a dataset. Anything that needs the whole dataset at once (uniqueness, medians, shares) is a
*measure* (`plmsae.quality.measures`): a number computed beforehand, on which a row-wise expectation
is then put like on any other column.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from plmsae.core.errors import InputError, NotFoundError
from plmsae.core.resources import registry_path

TableKind = Literal["proteins", "annotations", "proposals", "labels"]
"""Tables of any tool, which `plmsae validate` takes."""
Kind = TableKind | Literal["models", "evidence"]
"""All tables that are checked: SAEs with their metrics and the evidence of reports, too."""
KINDS: tuple[Kind, ...] = (*get_args(TableKind), "models", "evidence")

Severity = Literal["critical", "warning"]
ColumnType = Literal["string", "integer", "number"]

_ONE = ("column",)
_TWO = ("column_A", "column_B")
_NONE: Set[str] = frozenset()

# type -> (arguments that name columns, other arguments that must be there, further ones allowed)
_TYPES: Mapping[str, tuple[tuple[str, ...], Set[str], Set[str]]] = {
    "expect_column_values_to_not_be_null": (_ONE, _NONE, {"mostly"}),
    "expect_column_values_to_be_null": (_ONE, _NONE, {"mostly"}),
    "expect_column_values_to_be_between": (
        _ONE,
        _NONE,
        {"min_value", "max_value", "strict_min", "strict_max", "mostly"},
    ),
    "expect_column_values_to_be_in_set": (_ONE, {"value_set"}, {"mostly"}),
    "expect_column_values_to_not_be_in_set": (_ONE, {"value_set"}, {"mostly"}),
    "expect_column_values_to_match_regex": (_ONE, {"regex"}, {"mostly"}),
    "expect_column_values_to_not_match_regex": (_ONE, {"regex"}, {"mostly"}),
    "expect_column_value_lengths_to_be_between": (
        _ONE,
        _NONE,
        {"min_value", "max_value", "mostly"},
    ),
    "expect_column_pair_values_a_to_be_greater_than_b": (
        _TWO,
        _NONE,
        {"or_equal", "ignore_row_if", "mostly"},
    ),
    "expect_column_pair_values_to_be_equal": (_TWO, _NONE, {"ignore_row_if", "mostly"}),
}


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One reviewed line of a suite."""

    name: str
    """Unique within the suite; what logs, metrics and reports call it."""
    type: str
    """The Great Expectations type in snake case."""
    kwargs: Mapping[str, Any]
    """Its arguments, as Great Expectations takes them."""
    severity: Severity
    """``critical`` stops a pipeline; ``warning`` is only shown."""
    why: str
    """Why it matters, in a sentence a reader of the report understands."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns, derived columns or measures it looks at (one or two)."""
        return tuple(str(self.kwargs[argument]) for argument in _TYPES[self.type][0])

    @property
    def mostly(self) -> float:
        """The share of rows that must meet it, in (0, 1]."""
        return float(self.kwargs.get("mostly", 1.0))

    @property
    def expected(self) -> str:
        """What is expected, in words: ``score between 0 and 1``."""
        return _in_words(self)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The expectations on one kind of table."""

    kind: Kind
    """What it checks; the file's name too."""
    description: str
    """One or two sentences for the head of the report."""
    required: Mapping[str, ColumnType]
    """Columns without which the frame cannot be what it claims to be, and their types."""
    optional: Mapping[str, ColumnType]
    """Columns that are checked when they are there."""
    identify: tuple[str, ...]
    """Columns shown beside an offending value, so that it can be found again."""
    expectations: tuple[Expectation, ...]
    """In the order of the file, which is the order of the report."""
    path: Path
    """The file it was read from."""


def load_suite(kind: str, path: Path | None = None) -> Suite:
    """Read a suite.

    Parameters
    ----------
    kind : {'proteins', 'annotations', 'proposals', 'labels', 'models', 'evidence'}
        Which of the reviewed suites.
    path : Path, optional
        Another file to read in its place.

    Raises
    ------
    InputError
        If the kind is unknown, or the file is not a valid suite: bad YAML, an unknown expectation
        type or argument, a severity other than ``critical`` or ``warning``, a name used twice.
    """
    if kind not in KINDS:
        raise NotFoundError("there is no such suite", value=kind, hint=f"one of {', '.join(KINDS)}")
    import yaml  # not above: the help of the CLI reads `TableKind`, and must stay quick

    if path is None:
        path = registry_path(f"suites/{kind}.yaml")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError("not a YAML file", where=path, value=str(error)) from error
    except OSError as error:
        raise InputError("the suite cannot be read", where=path, value=str(error)) from error
    if not isinstance(raw, dict):
        raise InputError("a suite is a mapping", where=path)
    known = {"kind", "description", "columns", "optional_columns", "identify", "expectations"}
    _refuse_unknown(raw, known, where=path, record=None)
    if raw.get("kind") != kind:
        raise InputError(f"the suite is not for {kind}", where=path, value=str(raw.get("kind")))
    entries = raw.get("expectations")
    if not isinstance(entries, list) or not entries:
        raise InputError("a suite needs a list of expectations", where=path)
    expectations = tuple(_expectation(entry, number, path) for number, entry in enumerate(entries))
    names = [expectation.name for expectation in expectations]
    for name in names:
        if names.count(name) > 1:
            raise InputError("two expectations share a name", where=path, value=name)
    required = _columns(raw.get("columns"), path)
    return Suite(
        kind=kind,
        description=str(raw.get("description", "")).strip(),
        required=required,
        optional=_columns(raw.get("optional_columns") or {}, path),
        identify=tuple(str(column) for column in raw.get("identify") or ()),
        expectations=expectations,
        path=path,
    )


def _expectation(entry: Any, number: int, path: Path) -> Expectation:
    record = f"expectation {number + 1}"
    if not isinstance(entry, dict):
        raise InputError("an expectation is a mapping", where=path, record=record)
    if isinstance(entry.get("name"), str):
        record = entry["name"]
    _refuse_unknown(entry, {"name", "type", "kwargs", "severity", "why"}, where=path, record=record)
    for key in ("name", "type", "severity", "why"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise InputError(f"the expectation has no {key}", where=path, record=record)
    if entry["type"] not in _TYPES:
        raise InputError(
            "expectation type not allowed",
            where=path,
            record=record,
            value=entry["type"],
            hint=f"one of {', '.join(_TYPES)}; for the whole dataset put one of these on a measure",
        )
    if entry["severity"] not in get_args(Severity):
        raise InputError(
            "severity is critical or warning", where=path, record=record, value=entry["severity"]
        )
    kwargs = entry.get("kwargs")
    if not isinstance(kwargs, dict):
        raise InputError("kwargs is a mapping", where=path, record=record)
    columns, needed, allowed = _TYPES[entry["type"]]
    _refuse_unknown(kwargs, {*columns, *needed, *allowed}, where=path, record=record)
    for argument in (*columns, *sorted(needed)):
        if argument not in kwargs:
            raise InputError(f"the expectation lacks {argument}", where=path, record=record)
    mostly = kwargs.get("mostly", 1)
    if not isinstance(mostly, int | float) or not 0 < mostly <= 1:
        raise InputError("mostly lies in (0, 1]", where=path, record=record, value=str(mostly))
    return Expectation(
        name=entry["name"],
        type=entry["type"],
        kwargs=kwargs,
        severity=entry["severity"],
        why=" ".join(entry["why"].split()),
    )


def _columns(raw: Any, path: Path) -> dict[str, ColumnType]:
    if not isinstance(raw, dict):
        raise InputError("columns is a mapping from name to type", where=path)
    for name, kind in raw.items():
        if kind not in get_args(ColumnType):
            raise InputError(
                "unknown column type",
                where=path,
                record=str(name),
                value=str(kind),
                hint=f"one of {', '.join(get_args(ColumnType))}",
            )
    return {str(name): kind for name, kind in raw.items()}


def _refuse_unknown(
    given: Mapping[str, Any], known: set[str], *, where: Path, record: str | None
) -> None:
    for key in given:
        if key not in known:
            hint = f"known: {', '.join(sorted(known))}"
            raise InputError("unknown key", where=where, record=record, value=str(key), hint=hint)


def _in_words(expectation: Expectation) -> str:
    kwargs, columns = expectation.kwargs, expectation.columns
    column = columns[0]
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    above = "more than" if kwargs.get("strict_min") else "at least"
    below = "less than" if kwargs.get("strict_max") else "at most"
    if low is not None and high is not None:
        bounds = f"exactly {low:,}" if low == high else f"between {low:,} and {high:,}"
    elif low is not None:
        bounds = f"{above} {low:,}"
    else:
        bounds = f"{below} {high:,}" if high is not None else "of any value"
    if high == 0 and low is None:
        bounds = "0"
    words = {
        "expect_column_values_to_not_be_null": "{0} present",
        "expect_column_values_to_be_null": "no {0}",
        "expect_column_values_to_be_between": "{0} {bounds}",
        "expect_column_value_lengths_to_be_between": "{0} of {bounds} characters",
        "expect_column_values_to_be_in_set": "{0} one of {set}",
        "expect_column_values_to_not_be_in_set": "{0} none of {set}",
        "expect_column_values_to_match_regex": "{0} like {regex}",
        "expect_column_values_to_not_match_regex": "{0} unlike {regex}",
        "expect_column_pair_values_a_to_be_greater_than_b": "{0} {than} {1}",
        "expect_column_pair_values_to_be_equal": "{0} equal to {1}",
    }[expectation.type]
    text = words.format(
        column,
        columns[-1],
        bounds=bounds,
        set=", ".join(str(value) for value in kwargs.get("value_set", ())),
        regex=kwargs.get("regex"),
        than="≥" if kwargs.get("or_equal") else ">",
    )
    return text if expectation.mostly == 1 else f"{text} in {expectation.mostly:.1%} of rows"
