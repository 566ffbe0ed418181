import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from plmsae.concepts.calling.calls import CALL_SCHEMA, call_spans
from plmsae.concepts.calling.decoders.segments import SegmentModel
from plmsae.concepts.calling.span_rules import span_rule
from plmsae.core.errors import InputError


def rules(*rows):
    schema = ("concept", "kind", "call_latent", "call_threshold", "min_length", "max_gap")
    return pl.DataFrame(rows, schema=schema, orient="row")


def column(*values):
    return csr_array(np.array([values], dtype=np.float32).T)


def spans(calls):
    return list(zip(calls["start"].to_list(), calls["end"].to_list(), strict=True))


def test_short_gaps_are_closed_and_short_runs_dropped():
    fired = column(1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 1, 1, 1)
    calls = call_spans(fired, rules(("x", "span", 0, 0.5, 3, 1)), [1.0], [0, 13])
    assert spans(calls) == [(1, 4), (11, 13)]


def test_a_call_never_crosses_into_the_next_protein():
    fired = column(0, 1, 1, 1, 1, 0)
    calls = call_spans(fired, rules(("x", "span", 0, 0.5, 1, 5)), [1.0], [0, 3, 3, 6])
    assert calls["protein"].to_list() == [0, 2]
    assert spans(calls) == [(2, 3), (1, 2)]


def test_every_site_residue_is_a_call_of_its_own():
    calls = call_spans(column(1, 1, 0, 1), rules(("x", "site", 0, 0.5, 1, 0)), [1.0], [0, 4])
    assert spans(calls) == [(1, 1), (2, 2), (4, 4)]


def test_the_score_is_the_scaled_maximum_and_never_above_one():
    rule = rules(("x", "span", 0, 0.1, 1, 0))
    calls = call_spans(column(4, 6, 0, 30), rule, [20.0], [0, 4])
    assert np.allclose(calls["score"], [0.3, 1.0])


def test_concepts_without_a_latent_and_dead_latents_make_no_calls():
    rule = rules(("x", "span", None, None, 1, 0), ("y", "span", 0, 0.0, 1, 0))
    calls = call_spans(column(1, 1), rule, [0.0], [0, 2])
    assert calls.height == 0
    assert calls.schema == pl.Schema(CALL_SCHEMA)


def test_a_latent_outside_the_sae_is_refused():
    with pytest.raises(InputError, match="outside the SAE of 1 latents"):
        call_spans(column(1, 1), rules(("x", "span", 3, 0.0, 1, 0)), [1.0], [0, 2])


def test_offsets_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="do not fit the 2 rows"):
        call_spans(column(1, 1), rules(("x", "span", 0, 0.0, 1, 0)), [1.0], [0, 3])


def slow_calls(dense, rule, highest, offsets):
    found = []
    for concept, kind, latent, threshold, min_length, max_gap in rule.iter_rows():
        for p in range(len(offsets) - 1):
            scaled = dense[offsets[p] : offsets[p + 1], latent] / highest[latent]
            fired = [i + 1 for i, value in enumerate(scaled) if value > np.float32(threshold)]
            runs = []
            for i in fired:
                if runs and kind == "span" and i - runs[-1][1] - 1 <= max_gap:
                    runs[-1][1] = i
                else:
                    runs.append([i, i])
            for start, end in runs:
                if kind == "site" or end - start + 1 >= min_length:
                    score = min(scaled[start - 1 : end].max(), 1)
                    found.append((p, start, end, concept, round(float(score), 5), latent))
    return sorted(found)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_calls_equal_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    dense = (rng.random((30, 4)) * (rng.random((30, 4)) < 0.6)).astype(np.float32)
    offsets = [0, *sorted(rng.integers(0, 31, 3).tolist()), 30]
    rule = rules(
        *[
            (f"c{i}", rng.choice(["span", "site"]), int(rng.integers(4)), rng.random() * 0.8,
             int(rng.integers(1, 5)), int(rng.integers(0, 4)))
            for i in range(5)
        ]
    )  # fmt: skip
    highest = np.array([1.0, 0.5, 2.0, 0.9], dtype=np.float32)
    calls = call_spans(csr_array(dense), rule, highest, offsets)
    rounded = calls.with_columns(pl.col("score").cast(pl.Float64).round(5))
    assert rounded.rows() == slow_calls(dense, rule, highest, offsets)


def test_a_seed_threshold_drops_runs_without_a_strong_residue():
    rule = rules(("x", "span", 0, 0.2, 1, 0)).with_columns(seed_threshold=pl.lit(0.7))
    calls = call_spans(column(0.3, 0.9, 0.3, 0, 0.4, 0.5, 0.4), rule, [1.0], [0, 7])
    assert spans(calls) == [(1, 3)]


def test_a_concept_with_a_segment_decoder_is_called_by_it():
    model = SegmentModel(
        edges=(0.1,), log_odds=(-1.0, 2.0), lengths=(3, 4), log_lengths=(0.0, 0.0), cost=0.5,
        min_evidence=0.0, gap=1, anchored=False,
    )  # fmt: skip
    rule = rules(("x", "span", 0, 0.1, 1, 0), ("y", "span", 0, 0.1, 1, 0)).with_columns(
        decoder=pl.Series(["segments", "runs"])
    )
    fired = column(0, 1, 1, 1, 1, 1, 1, 1, 1, 0)
    calls = call_spans(fired, rule, [1.0], [0, 10], {"x": model})
    assert spans(calls.filter(concept="y")) == [(2, 9)]
    assert len(spans(calls.filter(concept="x"))) == 2
    with pytest.raises(InputError, match="x: the segment decoder of a concept is missing"):
        call_spans(fired, rule, [1.0], [0, 10])


def test_the_span_rule_follows_the_lengths_of_the_labels():
    assert span_rule(np.full(20, 40), kind="span") == (20, 10)
    assert span_rule(np.full(20, 8), kind="span") == (4, 2)
    assert span_rule(np.array([2, 2, 3]), kind="span") == (2, 0)
    assert span_rule(np.array([1, 1, 9]), kind="span") == (1, 0)
    assert span_rule(np.full(20, 40), kind="site") == (1, 0)
