from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.scoring.merge import merge_calls

Call = tuple[int, int, int, str, float, int, float | None]

SCHEMA = {
    "protein": pl.Int64,
    "start": pl.Int64,
    "end": pl.Int64,
    "concept": pl.String,
    "score": pl.Float32,
    "latent": pl.Int32,
    "precision": pl.Float64,
    "precision_low": pl.Float64,
}
TRUST = {1: 0.9, 2: 0.5, 3: None, 4: 0.5}


def frame(calls: list[Call]) -> pl.DataFrame:
    return pl.DataFrame([(*call, call[-1]) for call in calls], schema=SCHEMA, orient="row")


def slow(calls: list[Call]) -> list[tuple[object, ...]]:
    """Take the most trusted call, give it the latents of those it overlaps, and so on."""
    left = sorted(
        calls, key=lambda c: (-(-1 if c[6] is None else c[6]), -c[4], c[0], c[1], c[2], c[5])
    )
    kept: list[tuple[Call, list[int]]] = []
    for call in left:
        over = [
            latents
            for other, latents in kept
            if other[0] == call[0]
            and other[3] == call[3]
            and other[1] <= call[2]
            and call[1] <= other[2]
        ]
        for latents in over:
            if call[5] not in latents:
                latents.append(call[5])
        if not over:
            kept.append((call, [call[5]]))
    return sorted((c[0], c[1], c[2], c[3], c[4], tuple(latents)) for c, latents in kept)


def build(protein: int, start: int, length: int, concept: str, score: int, latent: int) -> Call:
    return (protein, start, start + length, concept, score / 4, latent, TRUST[latent])


def apart(found: list[Call]) -> list[Call]:
    """Drop calls that overlap an earlier one of the same latent: such are never made."""
    kept: list[Call] = []
    for call in found:
        same = [k for k in kept if (k[0], k[3], k[5]) == (call[0], call[3], call[5])]
        if not any(k[1] <= call[2] and call[1] <= k[2] for k in same):
            kept.append(call)
    return kept


calls = st.lists(
    st.builds(
        build,
        st.integers(0, 1),
        st.integers(1, 15),
        st.integers(0, 6),
        st.sampled_from("AB"),
        st.integers(1, 3),
        st.integers(1, 4),
    ),
    max_size=14,
).map(apart)


@settings(max_examples=200, deadline=None)
@given(calls)
def test_merging_equals_taking_the_most_trusted_again_and_again(found: list[Call]) -> None:
    merged = merge_calls(frame(found))
    rows = merged.select("protein", "start", "end", "concept", "score", "latents").rows()
    assert sorted((*row[:5], tuple(row[5])) for row in rows) == slow(found)


@settings(max_examples=50, deadline=None)
@given(calls)
def test_nothing_that_is_left_overlaps_its_like_and_no_latent_is_lost(found: list[Call]) -> None:
    merged = merge_calls(frame(found)).sort("protein", "concept", "start")
    after = pl.col("start").shift(-1).over("protein", "concept")
    assert merged.filter(after <= pl.col("end")).is_empty()
    assert set(merged["latents"].explode().drop_nulls()) == {call[5] for call in found}


def test_calls_that_touch_without_sharing_a_residue_stay_two() -> None:
    merged = merge_calls(frame([(0, 1, 3, "A", 0.5, 1, 0.9), (0, 4, 6, "A", 0.5, 2, 0.5)]))
    assert merged.height == 2
