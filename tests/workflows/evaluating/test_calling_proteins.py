"""Who calls a term of whole proteins: planted terms from evaluation to scoring, without a PLM.

A latent is the mean over the residues of one letter's activation, so that a protein rich in a
letter fires that letter's latent.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array, vstack
from scoring_fakes import LETTERS, FakeBundle, FakeEncoder, FakeMeta, encode_one, table, write_fasta

from plmsae.concepts.protein_evaluation import evaluate_proteins, rows_of, term_labels
from plmsae.proteins.leak import Leak
from plmsae.scoring.engine import score
from plmsae.workflows.evaluating.annotated import Annotated
from plmsae.workflows.evaluating.calling import Calling, choose_calling
from plmsae.workflows.evaluating.label_transfer import transfer
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import EvaluateRequest

P, LENGTH = 1200, 40
REQUEST = EvaluateRequest(model="m", concepts="c", min_precision=0.4)


def sequence(rng: np.random.Generator, rich: str) -> str:
    others = [letter for letter in LETTERS if letter not in "WKRH"]
    letters = [*rng.choice(list(others), LENGTH - 12 * len(rich)), *(rich * 12)]
    return "".join(rng.permutation(letters))


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """ "either" is of proteins rich in W or in K, "one" of the richest in R."""
    rng = np.random.default_rng(0)
    groups = ["W", "K", "R", "R", "H", *[""] * 5]
    kinds = [groups[i % len(groups)] for i in range(P)]
    sequences = [sequence(rng, kind) for kind in kinds]
    accessions = [f"P{i:04d}" for i in range(P)]
    rows = [(a, "either") for a, kind in zip(accessions, kinds, strict=True) if kind in ("W", "K")]
    rich = sorted(
        (encode_one(s, "protein")[0, LETTERS.index("R")], a)
        for s, a, kind in zip(sequences, accessions, kinds, strict=True)
        if kind == "R"
    )
    chance = np.linspace(0.3, 1.0, len(rich))
    rows += [(a, "one") for (_, a), p in zip(rich, chance, strict=True) if rng.random() < p]
    rows += [(a, "chance") for a in rng.choice(accessions, P // 6, replace=False)]
    latents: csr_array = csr_array(vstack([encode_one(s, "protein") for s in sequences]))
    terms = pl.DataFrame(rows, schema=["accession", "concept"], orient="row")
    split = np.where(np.arange(P) < P // 2, "select", "report")
    return {
        "latents": latents,
        "data": Annotated(
            accessions=accessions,
            sequences=sequences,
            labels=term_labels(terms, accessions, split),
            split=split,
            clusters=np.arange(P) // 2,
            how="planted",
            leak=Leak(n_pairs=0, n_across=0, judge=""),
        ),
    }


def call(world: dict[str, Any], request: EvaluateRequest = REQUEST) -> tuple[Calling, pl.DataFrame]:
    data, latents = world["data"], world["latents"]
    evaluation = evaluate_proteins(
        latents, data.accessions, data.labels, data.split, clusters=data.clusters,
        min_precision=request.min_precision,
    )  # fmt: skip
    mix = np.linalg.qr(np.random.default_rng(1).normal(size=(len(LETTERS), len(LETTERS))))[0]
    states = list((latents.toarray() @ mix).astype(np.float32)[:, None])
    names = evaluation.concepts["concept"]
    transferred = transfer(request, data, names, states, Silent(), unit="protein")
    calling = choose_calling(
        request, data, evaluation, rows_of(latents), states, transferred, Silent(), unit="protein"
    )
    return calling, evaluation.features


@pytest.fixture(scope="module")
def called(world: dict[str, Any]) -> tuple[Calling, pl.DataFrame]:
    return call(world)


@dataclass(frozen=True, kw_only=True)
class Registered(FakeBundle):
    measured: pl.DataFrame = field(default_factory=pl.DataFrame)

    @property
    def features(self) -> pl.DataFrame:
        return self.measured


def scored(
    called: tuple[Calling, pl.DataFrame], out: Path, world: dict[str, Any], bar: float
) -> pl.DataFrame:
    calling, features = called
    meta = FakeMeta(unit="protein", min_precision=REQUEST.min_precision)
    bundle = Registered(
        meta=meta, concepts=calling.concepts, callers=calling.callers, measured=features
    )
    data = world["data"]
    new = [i for i, name in enumerate(data.split) if name == "report"]
    source = write_fasta(
        out.with_suffix(".fasta"), [(data.accessions[i], data.sequences[i]) for i in new]
    )
    score(
        source, bundle, out, model_uri="m/1", encoder=FakeEncoder(unit="protein"), min_precision=bar
    )
    return table(out, "annotations")


def test_a_term_of_two_latents_is_called_by_a_probe_and_chance_by_none(
    called: tuple[Calling, pl.DataFrame],
) -> None:
    rows = {row["concept"]: row for row in called[0].concepts.to_dicts()}
    assert {name: row["kind"] for name, row in rows.items()} == dict.fromkeys(rows, "protein")
    either, chance = rows["either"], rows["chance"]
    assert (either["caller"], either["call_latent"], either["abstains"]) == ("probe", None, None)
    assert either["missed_instances"] < 0.2 * either["n_instances"]
    # One latent finds half of them at best.
    assert either["recall"] < 0.6
    assert set(called[0].callers.probes["either"].latents) >= {
        LETTERS.index("W"),
        LETTERS.index("K"),
    }
    assert chance["abstains"] is not None
    assert chance["abstains_at"] == REQUEST.min_precision


def test_probes_stand_beside_the_best_latent_and_raw_probes(
    called: tuple[Calling, pl.DataFrame],
) -> None:
    calling = called[0]
    row = calling.tables["probes"].filter(concept="either").row(0, named=True)
    assert row["probe_ap"] > row["latent_ap"] + 0.2
    assert row["probe_f1"] > row["latent_f1"] + 0.2
    assert row["raw_probe_ap"] > row["latent_ap"]
    assert calling.metrics["probe_f1"] > calling.metrics["latent_f1"]
    assert "average precision (F1)" in "\n".join(calling.lines())
    distance = calling.tables["distance"]
    for method in ("model", "nearest_embedding"):
        assert distance.filter(method=method)["n_calls"].sum() > 0
    assert distance.filter(method="best_hit")["n_calls"].sum() == 0  # strangers


@pytest.mark.parametrize("probes", [True, False])
def test_scoring_carries_probabilities_that_rise_with_the_activation(
    called: tuple[Calling, pl.DataFrame], world: dict[str, Any], tmp_path: Path, probes: bool
) -> None:
    made = called if probes else call(world, replace(REQUEST, probes=False))
    calls = scored(made, tmp_path / "out", world, REQUEST.min_precision)
    assert set(calls["concept"]) == {"either", "one"}
    assert calls["probability"].null_count() == 0
    assert calls["probability"].is_between(0, 1).all()
    graded = calls.filter(concept="one").sort("score")
    assert (np.diff(graded["probability"].to_numpy()) >= 0).all()
    assert graded["probability"][-1] > graded["probability"][0] + 0.1
    assert (calls["end"] == LENGTH).all()
    counts = dict(calls.group_by("concept").len().iter_rows())
    speaking = made[0].concepts.filter(pl.col("abstains").is_null())
    assert counts == dict(speaking.select("concept", "n_calls").iter_rows())
    if not probes:
        assert set(speaking["caller"]) == {"latent"}
        assert set(graded["latents"].list.first()) == {LETTERS.index("R")}


def test_what_abstains_is_called_only_where_less_is_asked_for(
    called: tuple[Calling, pl.DataFrame], world: dict[str, Any], tmp_path: Path
) -> None:
    assert "chance" in set(scored(called, tmp_path / "low", world, 0.0)["concept"])
    assert "chance" not in set(scored(called, tmp_path / "high", world, 0.9)["concept"])


def test_probabilities_hold_on_report(called: tuple[Calling, pl.DataFrame]) -> None:
    assert called[0].metrics["ece"] < 0.12


def test_shuffled_terms_abstain(world: dict[str, Any]) -> None:
    data = world["data"]
    names = np.random.default_rng(2).permutation(data.accessions).tolist()
    shuffled = data.labels.with_columns(
        pl.col("accession").replace_strict(data.accessions, names)
    ).sort("accession", "concept")
    calling, _ = call({**world, "data": replace(data, labels=shuffled)})
    assert calling.concepts["abstains"].null_count() == 0
    assert calling.callers.probes == {}
