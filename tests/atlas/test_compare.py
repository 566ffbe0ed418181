"""Two models side by side: what both find."""

from __future__ import annotations

import polars as pl

from plmsae.atlas.compare import _concepts


def concepts(f1: list[float], f1_select: list[float], n_latents: list[int] | None) -> pl.DataFrame:
    columns = {"concept": list("abc"), "best_latent": [1, 2, 3], "f1": f1, "f1_select": f1_select}
    return pl.DataFrame(columns | ({} if n_latents is None else {"n_latents": n_latents}))


def test_a_concept_counts_as_found_as_evaluations_count_it() -> None:
    ours = concepts([0.9, 0.9, 0.2], [0.8, 0.3, 0.9], None)  # b: good on one side by chance
    theirs = concepts([0.9, 0.9, 0.2], [0.8, 0.8, 0.6], [2, 0, 1])  # c: found by another latent
    rows = _concepts(ours, theirs)
    assert [row["change"] for row in rows] == ["both", "neither", "only there"]
    assert [row["f1"] for row in rows] == [0.9, 0.9, 0.2]
    assert not [name for row in rows for name in row if name.endswith("found")]
