"""Lists of layers and learning rates as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.cli.values import parse_numbers, parse_rate, show_numbers
from plmsae.core.errors import InputError


@given(st.lists(st.integers(0, 500), unique=True))
@settings(max_examples=50, deadline=None)
def test_numbers_come_back_as_they_were_written(numbers: list[int]) -> None:
    assert parse_numbers(show_numbers(numbers), option="--layers") == tuple(numbers)


@given(st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=50, deadline=None)
def test_a_range_includes_both_ends(first: int, length: int) -> None:
    parsed = parse_numbers(f"{first}..{first + length}", option="--layers")
    assert parsed == tuple(range(first, first + length + 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("1,2,4", (1, 2, 4)), ("1, 3..4", (1, 3, 4)), ("2,2,1..2", (2, 1)), ("", ())],
        *[(None, ()), ("1,3-5", (1, 3, 4, 5))],
    ],
)
def test_lists_and_ranges_mix(text: str | None, expected: tuple[int, ...]) -> None:
    assert parse_numbers(text, option="--layers") == expected


@pytest.mark.parametrize(
    "text", ["x", "1,", ",1", "-1", "1-", "3..1", "3-1", "1.5", "1...3", " ", "0..9999999"]
)
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--layers: not a list of whole numbers"):
        parse_numbers(text, option="--layers")


def test_a_rate_is_auto_or_positive() -> None:
    assert parse_rate("auto") == "auto"
    assert parse_rate("1e-4") == 1e-4
    for wrong in ("0", "-1", "nan", "inf", "fast", ""):
        with pytest.raises(InputError, match="must be auto or a positive number"):
            parse_rate(wrong)
