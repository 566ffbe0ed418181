"""The shuffled order: a permutation, of which every part agrees with the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.sae.permutation import Permutation


@given(n=st.integers(1, 3000), seed=st.integers(0, 2**63), data=st.data())
@settings(max_examples=60, deadline=None)
def test_it_is_a_permutation_and_any_part_is_that_of_the_whole(
    n: int, seed: int, data: st.DataObject
) -> None:
    order = Permutation(n, (seed, 3))
    whole = order(0, n)
    assert np.array_equal(np.sort(whole), np.arange(n))
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    assert np.array_equal(order(start, stop), whole[start:stop])


def test_another_key_gives_another_order_and_the_same_key_the_same() -> None:
    first = Permutation(1000, (0, 0))(0, 1000)
    assert np.array_equal(first, Permutation(1000, (0, 0))(0, 1000))
    for other in ((0, 1), (1, 0)):
        assert (first == Permutation(1000, other)(0, 1000)).sum() < 20


@pytest.mark.parametrize("n", [1000, 1024, 1025, 40_000])
def test_each_batch_is_spread_evenly_over_the_whole(n: int) -> None:
    """Chi-square over ten equal parts, for each of the first batches: no more than chance."""
    order = Permutation(n, (7, 0))
    size = 250
    statistics = []
    for batch in range(n // size):
        found = np.bincount(order(batch * size, (batch + 1) * size) * 10 // n, minlength=10)
        statistics.append(((found - size / 10) ** 2 / (size / 10)).sum())
    # 9 degrees of freedom; drawing without replacement spreads a little more evenly.
    assert np.mean(statistics) < 9 + 4 * (18 / len(statistics)) ** 0.5
    assert max(statistics) < 40


def test_neighbours_do_not_stay_neighbours() -> None:
    order = Permutation(40_000, (1, 0))(0, 40_000)
    assert (np.abs(np.diff(order)) <= 10).mean() < 0.002
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02


def test_a_billion_things_take_no_memory() -> None:
    n = 10**9
    assert len(set(Permutation(n, (0, 0))(n - 1000, n).tolist())) == 1000


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 11)])
def test_places_that_do_not_exist_are_an_error(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="no places"):
        Permutation(10, (0,))(start, stop)
