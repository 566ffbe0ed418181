from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from plmsae.core.errors import InputError
from plmsae.sae.config import SaeConfig
from plmsae.sae.evaluate import evaluate_sae
from plmsae.sae.groups import variance_by_group
from plmsae.sae.model import build_sae


def chunks_of(x, group, sizes=(7, 40, 3)):
    at = np.cumsum([0, *sizes, len(x) - sum(sizes)])
    return [(x[a:b], group[a:b]) for a, b in itertools.pairwise(at)]


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 90)
    x = torch.from_numpy(rng.normal(size=(90, 6)) + 50 * group[:, None] + 1000).float()
    return x, group


def test_sums_are_those_of_a_plain_loop_over_groups(rows):
    x, group = rows
    sae = build_sae(SaeConfig(d_in=6, d_sae=24, k=4), seed=1)
    found = variance_by_group(sae, chunks_of(x, group), 4)
    exact, back = x.double().numpy(), sae.reconstruct(x).double().numpy()
    for g in range(3):
        mine = group == g
        assert found.count_G[g] == mine.sum()
        assert found.error_G[g] == pytest.approx(((exact - back)[mine] ** 2).sum())
        assert found.total_G[g] == pytest.approx(((exact[mine] - exact.mean(0)) ** 2).sum())
        assert found.within_G[g] == pytest.approx(((exact[mine] - exact[mine].mean(0)) ** 2).sum())
    assert np.allclose(found.mean_D, exact.mean(0))
    assert np.isnan(found.explained_G[3])
    assert np.isnan(found.explained_within_G[3])


def test_the_whole_is_what_an_evaluation_without_groups_says(rows):
    x, group = rows
    sae = build_sae(SaeConfig(d_in=6, d_sae=24, k=4), seed=1)
    found = variance_by_group(sae, chunks_of(x, group), 3)
    assert found.explained == pytest.approx(evaluate_sae(sae, [x])["explained_variance"])


def test_knowing_only_the_group_explains_nothing_within_it(rows):
    x, group = rows
    sae = build_sae(SaeConfig(d_in=6, d_sae=24, k=4), seed=1)
    mean = torch.stack([x[group == g].mean(0) for g in range(3)])
    sae.reconstruct = lambda rows: mean[(rows.mean(1) - 1000).div(50).round().long()]
    found = variance_by_group(sae, chunks_of(x, group), 3)
    assert found.explained > 0.99
    assert np.allclose(found.explained_within_G, 0, atol=1e-6)
    assert found.explained_within == pytest.approx(0, abs=1e-6)


def test_what_cannot_be_measured_is_refused(rows):
    x, group = rows
    transcoder = build_sae(SaeConfig(d_in=6, d_sae=8, k=2, target="change"))
    with pytest.raises(InputError, match="transcoder"):
        variance_by_group(transcoder, [(x, group)], 3)
    sae = build_sae(SaeConfig(d_in=6, d_sae=8, k=2))
    with pytest.raises(InputError, match="no activations"):
        variance_by_group(sae, [], 3)
    with pytest.raises(InputError, match="all equal"):
        variance_by_group(sae, [(torch.ones(4, 6), np.zeros(4, int))], 3)
