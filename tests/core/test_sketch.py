"""Sketches tell which sequences were in a set."""

from __future__ import annotations

import numpy as np
import pytest

from plmsae.core.sketch import SIZE, found_in_sketch, sketch_of


def some(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 40)) for _ in range(n)]


def test_of_a_small_set_every_sequence_can_be_told() -> None:
    inside, outside = some(SIZE - 1, 0), some(50, 1)
    assert found_in_sketch(sketch_of(inside), [*inside[:20], *outside]) == (20, 70)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_of_a_large_set_a_sample_tells_the_share(share: float) -> None:
    inside = some(4000, 2)
    asked = [*inside[: int(share * 1000)], *some(1000 - int(share * 1000), 3)]
    sketch = sketch_of(inside)
    assert len(sketch) < 4000
    found, looked_up = found_in_sketch(sketch, asked)
    assert 30 < looked_up < 120  # a sixteenth
    assert found / looked_up == pytest.approx(share, abs=0.15 if 0 < share < 1 else 0)


def test_order_and_repeats_do_not_matter() -> None:
    few = some(10, 4)
    assert sketch_of(few) == sketch_of([*reversed(few), few[0]])
    assert found_in_sketch(sketch_of([]), few) == (0, 10)
