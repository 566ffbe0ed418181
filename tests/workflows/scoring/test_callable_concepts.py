"""A model of which no concept can be called is refused before anything is scored."""

from __future__ import annotations

from types import SimpleNamespace

import polars as pl
import pytest

from plmsae.core.errors import InputError
from plmsae.workflows.scoring.callable_concepts import refuse_if_none_callable, round_down


def bundle(low: list[float | None], abstains_at: list[float | None], bound: float = 0.8):
    """A model with these bounds of precision."""
    concepts = pl.DataFrame(
        {
            "concept": [f"Domain: {letter}" for letter in "ABCDE"[: len(low)]],
            "call_precision_low": low,
            "abstains_at": abstains_at,
        },
        schema={
            "concept": pl.String,
            "call_precision_low": pl.Float64,
            "abstains_at": pl.Float64,
        },
    )
    return SimpleNamespace(meta=SimpleNamespace(min_precision=bound), concepts=concepts)


def refusal(model, min_precision=None) -> str:
    with pytest.raises(InputError) as caught:
        refuse_if_none_callable(model, min_precision, model="M@champion")
    return str(caught.value)


def test_a_model_with_a_concept_that_can_be_called_is_not_refused():
    refuse_if_none_callable(bundle([0.85, 0.1], [None, None]), None, model="M")


def test_the_bound_that_would_call_some_is_named_with_the_surest_concepts():
    found = refusal(bundle([0.431, 0.456, 0.438, None], [None, None, None, None]))
    assert "M@champion: none of the 4 concepts of this model can be called" in found
    assert "--min-precision 0.8;" in found
    assert "--min-precision 0.45 would call 1 of them" in found
    assert "Domain: B 0.45, Domain: C 0.43, Domain: A 0.43" in found


def test_a_class_is_named_with_its_member_once():
    model = bundle([0.67, 0.67, 0.61, 0.5], [None] * 4)
    names = ["Transmembrane", "Transmembrane: Helical", "Signal peptide", "Domain: A"]
    model.concepts = model.concepts.with_columns(concept=pl.Series(names))
    found = refusal(model)
    assert "--min-precision 0.67 would call 1 of them" in found
    assert found.endswith(
        "it meets: Transmembrane: Helical (and so Transmembrane) 0.67, Signal peptide 0.61, "
        "Domain: A 0.5"
    )
    # A class that is less precise than its member is another thing.
    model.concepts = model.concepts.with_columns(call_precision_low=pl.Series([0.6, 0.67, 0.1, 0]))
    assert "Transmembrane: Helical 0.67, Transmembrane 0.6, Signal" in refusal(model)


def test_the_bound_named_is_met_when_it_is_given():
    model = bundle([0.9, 0.2], [0.8, None])
    assert "--min-precision 0.79 would call 1 of them" in refusal(model)
    refuse_if_none_callable(model, 0.79, model="M")


def test_the_bound_asked_for_counts_and_not_the_models_own():
    assert "at --min-precision 0.95;" in refusal(bundle([0.9], [None]), 0.95)


def test_a_model_that_was_never_evaluated_names_the_command_that_does():
    assert "plmsae evaluate TABLE --model M@champion" in refusal(bundle([], []))


def test_concepts_without_a_measured_precision_name_the_command_that_measures_it():
    found = refusal(bundle([None, 0.5], [None, 0.0]))
    assert "for none was the precision of its calls measured" in found


@pytest.mark.parametrize(("bound", "rounded"), [(0.4567, 0.45), (0.00456, 0.0045), (1.0, 1.0)])
def test_bounds_are_rounded_down(bound, rounded):
    assert round_down(bound) == pytest.approx(rounded)
