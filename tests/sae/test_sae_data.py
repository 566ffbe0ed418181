"""The shuffling buffer: every row once, the same again, from any position."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.core.errors import InputError
from plmsae.sae.data import ReplayedBatches, as_source, shuffled_batches


def numbered(lengths: list[int]) -> list[torch.Tensor]:
    """Proteins of the given lengths; row i of the stream holds the number i twice."""
    numbers = torch.arange(sum(lengths)).float()
    return list(torch.stack((numbers, numbers), dim=1).split(lengths))


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=20),
    size=st.integers(1, 20),
    buffer=st.integers(1, 60),
)
def test_every_row_comes_once_but_for_a_last_part_of_a_batch(
    lengths: list[int], size: int, buffer: int
) -> None:
    batches = list(shuffled_batches(numbered(lengths), size, buffer))
    seen = [int(i) for batch in batches for i in batch[:, 0]]
    assert all(batch.shape == (size, 2) for batch in batches)
    assert len(set(seen)) == len(seen) == sum(lengths) // size * size
    assert all(torch.equal(batch[:, 0], batch[:, 1]) for batch in batches)


def test_a_batch_mixes_rows_of_many_proteins() -> None:
    batches = list(shuffled_batches(numbered([50] * 200), 100, buffer_rows=2000))
    proteins = {int(i) // 50 for i in batches[20][:, 0]}
    assert len(proteins) > 30


def test_the_same_seed_gives_the_same_batches_and_another_seed_others() -> None:
    def first(seed: int) -> torch.Tensor:
        return next(iter(shuffled_batches(numbered([40] * 10), 16, 100, seed)))

    assert torch.equal(first(3), first(3))
    assert not torch.equal(first(3), first(4))


@pytest.mark.parametrize("step", [0, 1, 5, 24, 25, 60])
def test_batches_from_a_position_are_those_of_the_whole_run(step: int) -> None:
    source = shuffled_batches(numbered([40] * 10), 16, 100)
    whole = list(islice(source.iter_from(0), 70))
    for batch, expected in zip(source.iter_from(step), whole[step:], strict=False):
        assert torch.equal(batch, expected)


def test_each_epoch_is_mixed_differently() -> None:
    source = shuffled_batches(numbered([40] * 10), 16, 100)
    epochs = list(islice(source.iter_from(0), 50))
    assert not torch.equal(epochs[0], epochs[25])


def test_a_stream_that_is_a_function_is_called_for_each_epoch() -> None:
    calls = []

    def stream() -> Iterator[torch.Tensor]:
        calls.append(1)
        yield from numbered([8])

    assert len(list(islice(shuffled_batches(stream, 4).iter_from(0), 6))) == 6
    assert len(calls) == 3


def test_a_batch_is_not_changed_by_what_comes_after_it() -> None:
    kept = [(batch, batch.clone()) for batch in shuffled_batches(numbered([40] * 10), 16, 100)]
    assert all(torch.equal(batch, copy) for batch, copy in kept)


def test_a_list_starts_again_and_a_generator_does_not() -> None:
    batches = numbered([2, 2, 2])
    assert len(list(islice(ReplayedBatches(batches).iter_from(2), 7))) == 7
    assert len(list(ReplayedBatches(iter(batches)).iter_from(2))) == 1
    assert list(ReplayedBatches([]).iter_from(0)) == []


def test_a_source_is_taken_as_it_is() -> None:
    source = shuffled_batches(numbered([4]), 2)
    assert as_source(source) is source


def test_a_stream_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(InputError, match="two dimensions"):
        next(iter(shuffled_batches([torch.zeros(3)], 2)))
