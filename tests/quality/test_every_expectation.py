"""Every expectation of every suite: data that must fail it, and good data that must not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from plmsae.quality.engine import Engine
from plmsae.quality.measures.sequences import NATURAL_PERCENT
from plmsae.quality.suites import KINDS, load_suite
from plmsae.quality.validation import validate

Data = tuple[pl.DataFrame, dict[str, Any]]
Damage = Callable[[pl.DataFrame, dict[str, Any]], Data]

N = 200
LENGTH = 60


def sequences(letters: str = "".join(NATURAL_PERCENT)) -> list[str]:
    rng = np.random.default_rng(0)
    shares = np.array([NATURAL_PERCENT[letter] for letter in letters])
    return ["".join(rng.choice(list(letters), LENGTH, p=shares / shares.sum())) for _ in range(N)]


def proteins(letters: str = "".join(NATURAL_PERCENT)) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "accession": [f"P{i}" for i in range(N)],
            "length": [LENGTH] * N,
            "sequence": sequences(letters),
        }
    )


def spans(*rows: tuple[str, int, int, str], n: int = N) -> pl.DataFrame:
    """One span for each (concept, start, end, kind) on each of the first `n` proteins."""
    made = [(f"P{i}", start, end, name, kind) for i in range(n) for name, start, end, kind in rows]
    return pl.DataFrame(made, schema=["accession", "start", "end", "concept", "kind"], orient="row")


DOMAIN, SITE = ("Domain: X", 5, 25, "span"), ("Modified residue: Phosphoserine", 30, 30, "site")
OTHER = ("Domain: Y", 40, 50, "span")


def calls() -> pl.DataFrame:
    return spans(DOMAIN, SITE).with_columns(
        score=pl.lit(0.5),
        precision=pl.lit(0.9),
        precision_low=pl.lit(0.8),
        probability=pl.lit(0.9),
        model_uri=pl.lit("models:/m/1"),
    )


def known_to_the_model() -> dict[str, Any]:
    concepts = pl.DataFrame(
        {
            "concept": [DOMAIN[0], SITE[0]],
            "kind": ["span", "site"],
            "label_whole_share": [0.0, 0.0],
            "label_one_residue_share": [0.0, 1.0],
            "n_calls": [N, N],
            "abstains": pl.Series([None, None], dtype=pl.String),
        }
    )
    without_cysteine = proteins("".join(NATURAL_PERCENT).replace("C", "")).with_columns(
        pl.concat_str(
            pl.col("sequence").str.slice(0, SITE[1] - 1),
            pl.lit("S"),
            pl.col("sequence").str.slice(SITE[1]),
        ).alias("sequence")
    )
    return {
        "proteins": without_cysteine,
        "sequences": without_cysteine,
        "concepts": concepts,
        "registered": facts("abc"),
    }


def facts(revision: str) -> pl.DataFrame:
    rows = [("model", "models:/m/1", "models:/m/1"), ("PLM revision", "abc", revision)]
    return pl.DataFrame(rows, schema=["fact", "used", "registered"], orient="row")


def backtest(recovered: int = 60, correct: int = 95) -> pl.DataFrame:
    columns = {"n_hidden": 100, "n_recovered": recovered, "n_proposed": 100, "n_correct": correct}
    return pl.DataFrame({"concept": ["Domain: X"], **{k: [v] for k, v in columns.items()}})


def good(kind: str) -> Data:
    """Data of which every expectation can be checked, and is met."""
    if kind == "proteins":
        return proteins(), {"rejected": pl.DataFrame({"reason": ["empty"]})}
    if kind == "labels":
        return spans(DOMAIN, SITE), {"proteins": proteins()}
    if kind == "annotations":
        right = pl.concat([spans(DOMAIN, SITE, n=N * 9 // 10), spans(OTHER)])
        return calls(), known_to_the_model() | {"labels": right}
    if kind == "proposals":
        return calls().drop("kind"), known_to_the_model() | {
            "labels": spans(OTHER),
            "backtest": backtest(),
            "asked": pl.DataFrame({"min_precision": [0.7]}),
        }
    if kind == "models":
        return pl.DataFrame(
            {
                "model": ["L3", "L4"],
                "n_bad_weights": [0, 0],
                "k": [32, 32],
                "l0": [31.5, 32.0],
                "dead_share": [0.01, 0.0],
                "explained_variance": [0.8, 0.7],
                "loss_recovered": [0.9, 0.8],
                "decoder_norm_error": [1e-6, 0.0],
                "bad_activation_share": [0.0, 0.0],
                "activation_scale_ratio": [1.0, 0.9],
            }
        ), {}
    assert kind == "evidence"
    counts = {"n_shown": 20, "n_families": 18, "n_held_out": 15}
    counts |= {"n_on_both_sides": 0, "n_families_on_both_sides": 0, "n_outside": 0}
    counts |= {"n_unfound_citations": 0}
    return pl.DataFrame({"latent": [3, 7, 9], **{k: [v] * 3 for k, v in counts.items()}}), {}


def put(rows: int | None = 1, **values: object) -> Damage:
    """Put values into the first rows (all if None)."""

    def damage(table: pl.DataFrame, context: dict[str, Any]) -> Data:
        first = pl.int_range(pl.len()) < (table.height if rows is None else rows)
        changed = [
            pl.when(first).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
            for name, value in values.items()
        ]
        return table.with_columns(changed), context

    return damage


def only(condition: pl.Expr, times: int = 1) -> Damage:
    """Keep some rows, each so many times."""
    return lambda table, context: (pl.concat([table.filter(condition)] * times), context)


def beside(**tables: object) -> Damage:
    """Compare with other tables."""
    return lambda table, context: (table, context | tables)


FIRST = pl.int_range(pl.len()) == 0
NOTHING = pl.lit(value=False)
DOMAINS = pl.col("concept") == "Domain: X"
ON_ONE_PROTEIN = pl.col("accession") == "P0"

SPANS: dict[str, Damage] = {
    "accession_present": put(accession=None),
    "concept_present": put(concept=None),
    "start_present": put(start=None),
    "end_present": put(end=None),
    "start_from_one": put(start=0),
    "start_before_end": put(start=26, end=25),
    "inside_the_protein": put(end=LENGTH + 1),
    "protein_known": put(accession="Q1"),
}
CALLS: dict[str, Damage] = SPANS | {
    "concept_known": put(concept="Domain: Z"),
    "score_in_range": put(score=1.5),
    "precision_in_range": put(precision=1.5),
    "precision_above_its_lower_end": put(precision=0.1),
    "probability_in_range": put(probability=-0.1),
    "one_model": put(model_uri="models:/m/2"),
    "no_repeats": only(pl.lit(value=True), times=2),
    "no_whole_protein_spans": put(None, start=1, end=LENGTH),
    "no_one_residue_spans": put(None, start=5, end=5, concept="Domain: X"),
    "residues_possible": put(rows=N // 10, concept="Disulfide bond"),
    "soluble_without_membrane": put(None, concept="Transmembrane"),
    "model_as_registered": beside(registered=facts("def")),
}
DAMAGES: dict[str, dict[str, Damage]] = {
    "proteins": {
        "there_are_proteins": only(NOTHING),
        "accession_present": put(accession=None),
        "accession_plain": put(accession="P 0"),
        "accession_unique": put(rows=2, accession="P0"),
        "sequence_present": put(sequence=None),
        "sequence_letters": put(sequence="mktayiakqr"),
        "length_of_the_sequence": put(length=LENGTH - 1),
        "length_sane": put(length=40_001),
        "not_fragments": put(rows=N // 10, length=10),
        "median_length_sane": put(None, length=30),
        "not_nucleotides": put(rows=N // 10, sequence="ACGT" * 15),
        "composition_natural": put(None, sequence="W" * LENGTH),
        "few_unknown_residues": put(rows=N // 10, sequence="X" * LENGTH),
        "few_repeated_sequences": put(rows=N // 10, sequence="MKTAYIAKQR" * 6),
        "few_rejected": beside(rejected=pl.DataFrame({"reason": ["empty"] * (N // 10)})),
    },
    "labels": SPANS
    | {
        "there_are_labels": only(NOTHING),
        "concept_named": put(concept="Domain: X "),
        "kind_known": put(kind="stretch"),
        "one_kind_each": put(kind="site"),
        "few_repeats": only(pl.lit(value=True), times=2),
        "concepts_several": only(DOMAINS),
        "no_dominant_concept": only(DOMAINS | ON_ONE_PROTEIN),
        "no_flooded_protein": only(FIRST, times=2001),
    },
    "annotations": CALLS
    | {
        "score_present": put(score=None),
        "precision_present": put(precision=None),
        "precision_low_in_range": put(precision_low=-0.1),
        "something_was_found": only(NOTHING),
        "few_per_protein": only(pl.lit(value=True), times=51),
        "no_flooded_protein": only(FIRST, times=5001),
        "no_dominant_concept": only(DOMAINS),
        "proteins_annotated": only(ON_ONE_PROTEIN),
        "probabilities_calibrated": put(None, probability=0.5),
        "no_overconfident_concept": beside(
            labels=pl.concat([spans(DOMAIN, OTHER), spans(SITE, n=N // 2)])
        ),
        "concepts_as_in_the_reference": only(DOMAINS),
    },
    "proposals": CALLS
    | {
        "label_is_missing": beside(labels=spans(DOMAIN, n=1)),
        "precision_measured": put(precision=None),
        "precision_low_measured": put(precision_low=None),
        "worth_proposing": put(rows=N // 2, precision_low=0.6),
        "no_flooded_protein": only(FIRST, times=201),
        "backtest_precise": beside(backtest=backtest(correct=40)),
        "backtest_finds": beside(backtest=backtest(recovered=4)),
        "promises_kept": beside(backtest=backtest(correct=60)),
    },
    "models": {
        "there_are_models": only(NOTHING),
        "weights_finite": put(n_bad_weights=1),
        "decoder_of_unit_norm": put(decoder_norm_error=0.02),
        "activations_finite": put(bad_activation_share=0.001),
        "activations_of_the_stored_scale": put(activation_scale_ratio=2.1),
        "explained_variance_finite": put(explained_variance=float("nan")),
        "explains_something": put(explained_variance=0.0),
        "l0_finite": put(l0=None),
        "something_is_active": put(l0=0.0),
        "l0_near_k": put(l0=15.0),
        "few_dead": put(dead_share=0.31),
        "loss_recovered": put(loss_recovered=-0.1),
    },
    "evidence": {
        "there_are_features": only(NOTHING),
        "feature_once": put(rows=2, latent=3),
        "enough_proteins": put(n_shown=2),
        "distinct_families": put(n_families=2),
        "tested": put(rows=2, n_held_out=0),
        "sides_apart": put(n_on_both_sides=1),
        "families_apart": put(n_families_on_both_sides=1),
        "positions_inside": put(n_outside=1),
        "citations_found": put(n_unfound_citations=1),
    },
}
EVERY = [(kind, e.name) for kind in KINDS for e in load_suite(kind).expectations]


def test_no_expectation_is_without_data_that_fail_it_and_no_data_without_expectation() -> None:
    damaged = [(kind, name) for kind, damages in DAMAGES.items() for name in damages]
    assert sorted(damaged) == sorted(EVERY)


@pytest.mark.parametrize("kind", KINDS)
def test_good_data_meet_every_expectation(tmp_path: Path, kind: str) -> None:
    table, context = good(kind)
    report = validate(kind, table, out_dir=tmp_path, context=context)
    assert {r.name: r.observed for r in report.results if r.state != "passed"} == {}


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_damaged_data_fail_their_expectation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    # Other tests look at the pages, which take most of the time.
    monkeypatch.setattr(Engine, "write_data_docs", lambda *_, **__: None)
    suite = yaml.safe_load(load_suite(kind).path.read_text(encoding="utf-8"))
    suite["expectations"] = [e for e in suite["expectations"] if e["name"] == name]
    alone = tmp_path / "suite.yaml"
    alone.write_text(yaml.safe_dump(suite))
    table, context = DAMAGES[kind][name](*good(kind))
    report = validate(kind, table, out_dir=tmp_path / "out", context=context, suite_path=alone)
    (result,) = report.results
    assert result.state == ("failed" if result.severity == "critical" else "warning")
    assert report.success is (result.severity == "warning")
