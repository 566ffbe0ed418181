"""Who calls which concept: the step of an evaluation, on planted proteins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from plmsae.concepts.evaluation import Settings, evaluate_residue
from plmsae.proteins.leak import Leak
from plmsae.workflows.evaluating.annotated import Annotated
from plmsae.workflows.evaluating.calling import Calling, calling_lines, choose_calling
from plmsae.workflows.evaluating.label_transfer import transfer
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import EvaluateRequest

N, LENGTH, F = 320, 40, 8
REQUEST = EvaluateRequest(model="m", concepts="c", min_precision=0.5)


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """ "both" is where latents 0 and 1 fire together; each also fires alone."""
    rng = np.random.default_rng(0)
    latents, states, rows, sequences = [], [], [], []
    mix = np.linalg.qr(rng.normal(size=(F, F)))[0]
    for i in range(N):
        dense = rng.random((LENGTH, F)) * (rng.random((LENGTH, F)) < 0.05)
        dense[:, :2] = 0
        at = rng.permutation(np.arange(1, 36, 12))
        for place, which in ((at[0], [0, 1]), (at[1], [0]), (at[2], [1])):
            dense[place : place + 5, which] = rng.uniform(0.5, 1, (5, len(which)))
        if i % 5:
            rows.append((f"P{i:03d}", int(at[0]) + 1, int(at[0]) + 5, "both", "span"))
        latents.append(csr_array(dense.astype(np.float32)))
        states.append((dense @ mix).astype(np.float16))
        sequences.append("".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), LENGTH)))
    data = Annotated(
        accessions=[f"P{i:03d}" for i in range(N)],
        sequences=sequences,
        labels=pl.DataFrame(
            rows, schema=["accession", "start", "end", "concept", "kind"], orient="row"
        ),
        split=np.where(np.arange(N) < N // 2, "select", "report"),
        clusters=np.arange(N) // 2,
        how="planted",
        leak=Leak(n_pairs=0, n_across=0, judge=""),
    )
    evaluation = evaluate_residue(
        latents,
        data.accessions,
        data.labels,
        data.split,
        Settings(min_precision=0.5),
        clusters=data.clusters,
    )
    return {"data": data, "evaluation": evaluation, "latents": latents, "states": states}


def run(world: dict[str, Any], request: EvaluateRequest = REQUEST, **changed: Any) -> Calling:
    given = world | changed
    names = given["evaluation"].concepts["concept"]
    transferred = transfer(request, given["data"], names, given["states"], Silent())
    return choose_calling(request, progress=Silent(), transferred=transferred, **given)


def test_probes_are_chosen_compared_calibrated_and_logged(
    world: dict[str, Any], tmp_path: Path
) -> None:
    calling = run(world)
    row = calling.concepts.row(0, named=True)
    assert (row["caller"], row["call_latent"], row["concept"]) == ("probe", None, "both")
    assert set(calling.callers.probes) == set(calling.callers.calibrators) == {"both"}
    assert set(calling.tables) == {"callers", "probes", "annotator", "reliability", "distance"}
    assert calling.metrics["ece"] < 0.2
    assert calling.metrics["probe_ap"] > calling.metrics["latent_ap"]
    distance = calling.tables["distance"]
    assert distance.filter(method="model")["n_calls"].sum() == row["n_calls"]
    # Strangers: there is no best hit, and every protein has a nearest embedding.
    assert distance["bin"].unique().to_list() == ["none"]
    assert distance.filter(method="best_hit")["n_calls"].sum() == 0
    assert distance.filter(method="nearest_embedding")["n_calls"].sum() > 0
    logged: list[str] = []

    class Run:
        def log_artifact(self, path: Path, folder: str) -> None:
            assert path.is_file()
            logged.append(f"{folder}/{path.name}")

        log_table = log_artifact

    calling.log(Run(), tmp_path)  # type: ignore[arg-type]
    assert "figures/reliability.png" in logged
    assert "evaluation/distance.parquet" in logged
    text = "\n".join(calling.lines())
    assert "probes call 1 concept, single latents the others" in text
    over = "over the concept called, by identity to the nearest labelled protein"
    assert f"precision of calls, {over}" in text
    assert f"precision of labels of the nearest mean embedding, {over}" in text
    assert "no homologue" in text
    assert "ECE" in text


def test_where_nothing_is_called_labels_of_neighbours_are_judged_over_all_concepts(
    world: dict[str, Any],
) -> None:
    calling = run(world, replace(REQUEST, min_precision=1.0))
    text = "\n".join(calling.lines())
    assert "precision of calls" not in text
    assert "nearest mean embedding, over the concept evaluated, because none is called, by" in text


def test_without_probes_latents_call_and_are_calibrated(world: dict[str, Any]) -> None:
    calling = run(world, replace(REQUEST, probes=False), states=[])
    assert calling.concepts["caller"].to_list() == ["latent"]
    assert not calling.callers.probes
    assert "probes" not in calling.tables
    assert "reliability" in calling.tables


def test_one_family_gives_neither_probes_nor_calibration(world: dict[str, Any]) -> None:
    data = replace(world["data"], clusters=np.arange(N) // (N // 2))
    calling = run(world, data=data)
    assert not calling.callers
    assert calling.concepts["caller"].to_list() == ["latent"]
    assert set(calling.tables) == {"annotator"}


def test_latents_chosen_by_luck_promise_no_more_than_they_keep() -> None:
    rng = np.random.default_rng(0)
    names = [f"P{i:03d}" for i in range(N)]
    latents = [
        csr_array((rng.random((LENGTH, 100)) * (rng.random((LENGTH, 100)) < 0.1)), dtype="f4")
        for _ in names
    ]
    rows = [
        (names[i], start + 1, start + 6, f"noise {n}", "span")
        for n in range(8)
        for i in rng.choice(N, N // 2, replace=False)
        for start in rng.choice(LENGTH - 6, 1)
    ]
    table = pl.DataFrame(
        rows, schema=["accession", "start", "end", "concept", "kind"], orient="row"
    )
    data = Annotated(
        accessions=names,
        sequences=["A" * LENGTH] * N,
        labels=table,
        split=np.where(np.arange(N) < N // 2, "select", "report"),
        clusters=np.arange(N),
        how="planted",
        leak=Leak(n_pairs=0, n_across=0, judge=""),
    )
    evaluation = evaluate_residue(
        latents, names, table, data.split, Settings(min_precision=0.5), clusters=data.clusters
    )
    request = replace(REQUEST, probes=False)
    transferred = transfer(request, data, evaluation.concepts["concept"], [], Silent())
    calling = choose_calling(request, data, evaluation, latents, [], transferred, Silent())
    curve = calling.tables["reliability"]
    n = curve["n"].to_numpy()
    said, kept = ((curve[name] * n).sum() / n.sum() for name in ("mean_probability", "frequency"))
    assert 0 < kept < 0.2  # a call of six residues is right by chance in about one case in nine
    assert said == pytest.approx(kept, abs=0.03)


def test_nothing_measured_is_nothing_said() -> None:
    assert calling_lines({}) == []
