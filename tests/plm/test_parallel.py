"""Batches side by side on a CPU: the same numbers in the same order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch

from plmsae.encode import Encoder
from plmsae.plm.model import Plm, load_plm
from plmsae.plm.parallel import in_order, pays
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ" * n for n in range(1, 12)]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_side_by_side_or_not_the_activations_are_the_same(precision) -> None:
    plm = load_plm("plmsae-mini", device="cpu", precision=precision)
    found = []
    for threads in (2, 1):
        torch.set_num_threads(threads)
        found.append(list(plm.activations(SEQUENCES, [3, 5], token_budget=300)))
    assert [index for index, _ in found[0]] == [index for index, _ in found[1]]
    for (_, one), (_, other) in zip(*found, strict=True):
        # Each worker has one thread, so that even bf16 rounds the same.
        assert all(torch.equal(one[layer], other[layer]) for layer in (3, 5))


def test_each_worker_has_one_thread_and_all_others_what_they_had() -> None:
    seen: list[tuple[str, int]] = []

    def look(item: int) -> int:
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        return item

    assert list(in_order(look, range(9), side_by_side=True)) == list(range(9))
    assert {threads for _, threads in seen} == {1}
    assert all(name.startswith("plmsae-plm") for name, _ in seen)
    assert torch.get_num_threads() == 2
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


def test_few_batches_keep_all_threads_as_does_another_device() -> None:
    cpu = torch.device("cpu")
    assert [pays(cpu, n) for n in (0, 3, 4, 9)] == [False, False, True, True]
    assert not pays(torch.device("cuda"), 9)
    torch.set_num_threads(1)
    assert not pays(cpu, 9)


def test_work_on_what_is_made_side_by_side_shares_the_threads_and_the_order() -> None:
    names: set[str] = set()

    def work(item: int) -> int:
        names.add(threading.current_thread().name)
        return item + 1

    made = in_order(work, range(50), side_by_side=True)
    assert list(in_order(work, made, side_by_side=True)) == list(range(2, 52))
    assert len(names) == 2


def test_an_encoder_gives_the_same_latents_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plmsae.encode._ROWS", 200)
    sae = build_sae(SaeConfig(d_in=320, d_sae=64, k=4))
    encoder = Encoder(load_plm("plmsae-mini", device="cpu", max_layer=2), 2, sae)
    together = encoder.encode(SEQUENCES)
    torch.set_num_threads(1)
    for one, other in zip(together, encoder.encode(SEQUENCES), strict=True):
        assert one.shape == other.shape
        assert np.allclose(one.toarray(), other.toarray(), atol=1e-5)


def test_an_error_comes_in_its_place_and_a_consumer_that_stops_ends_the_work() -> None:
    begun: list[int] = []

    def fail(item: int) -> int:
        begun.append(item)
        if item == 5:
            raise ValueError("five")
        return item

    made = in_order(fail, range(9), side_by_side=True)
    assert list(islice(made, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(made)
    running = in_order(fail, range(100), side_by_side=True)
    next(running)
    running.close()
    so_far = len(begun)
    time.sleep(0.05)
    assert len(begun) == so_far
    assert list(in_order(fail, range(5), side_by_side=True)) == list(range(5))


def test_the_threads_are_kept_and_are_no_more_than_are_asked_for() -> None:
    for _ in range(3):
        list(in_order(str, range(9), side_by_side=True))
    names = [t.name for t in threading.enumerate() if t.name.startswith("plmsae-plm")]
    assert len(names) == 2


def test_a_batch_that_does_not_fit_is_halved_side_by_side_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plm = load_plm("plmsae-mini", device="cpu")
    expected = dict(plm.activations(SEQUENCES, [2], token_budget=300))
    original = Plm._states

    def too_large(self, pieces, layers):
        if len(pieces) > 1:
            raise MemoryError
        return original(self, pieces, layers)

    monkeypatch.setattr(Plm, "_states", too_large)
    found = dict(plm.activations(SEQUENCES, [2], token_budget=300))
    assert found.keys() == expected.keys()
    for index, states in found.items():
        assert torch.allclose(states[2], expected[index][2], atol=1e-4, rtol=1e-4)
