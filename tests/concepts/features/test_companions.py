"""Latents that fire together are compared with sets of residues, the obvious way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from plmsae.concepts.features import companions
from plmsae.concepts.features.companions import active_residues, firing_together
from plmsae.concepts.features.patterns import ACTIVE


@pytest.mark.parametrize("latents", [range(6), [4, 1]], ids=["all", "some"])
def test_latents_that_fire_together_are_counted_as_sets_of_residues(
    latents: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(companions, "_BLOCK", 4)  # two blocks
    rng = np.random.default_rng(0)
    dense = (rng.random((120, 6)) * (rng.random((120, 6)) < 0.3)).astype(np.float32)
    sets = [set(np.flatnonzero(column >= ACTIVE)) for column in dense.T]
    found = firing_together(active_residues(csr_array(dense)), latents, n=6)
    assert len(found) == len(latents)
    for i, rows in zip(latents, found, strict=True):
        assert {row.latent for row in rows} == {j for j in range(6) if j != i and sets[i] & sets[j]}
        for row in rows:
            assert row.n_residues == len(sets[i] & sets[row.latent])
            assert abs(row.jaccard - row.n_residues / len(sets[i] | sets[row.latent])) < 1e-4
        assert [row.jaccard for row in rows] == sorted((row.jaccard for row in rows), reverse=True)
