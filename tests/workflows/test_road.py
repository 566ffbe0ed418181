"""Every step, once, on a part of the sample of Swiss-Prot with the PLM that ships."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from plmsae.core.errors import InputError, QualityError
from plmsae.registry.models import list_models, resolve
from plmsae.workflows import demo, fill, score, simulate, train, validate
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import (
    DemoRequest,
    EvaluateRequest,
    FillRequest,
    ScoreRequest,
    SimulateRequest,
    TrainRequest,
    ValidateRequest,
)


def small_demo(out: Path) -> DemoRequest:
    return DemoRequest(
        out=out,
        max_proteins=320,
        d_sae=512,
        n_vectors=80_000,
        random_vectors=20_000,
        min_precision=0.3,
        fill_precision=0.05,
    )


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """One run of the demo, small; the other tests look at what it left."""
    folder = tmp_path_factory.mktemp("road")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("PLMSAE_CACHE", str(folder / "cache"))
        patch.delenv("ANTHROPIC_API_KEY", raising=False)
        yield demo.run(small_demo(folder / "out"), Silent())


def test_the_trained_sae_explains_what_the_plm_computes(road):
    metrics = road.trained.metrics
    assert metrics["explained_variance"] > 0.8
    assert metrics["loss_recovered"] > 0.5
    assert 1 <= metrics["l0"] <= 32


def test_latents_detect_concepts_beyond_chance_and_baselines_stand_beside(road):
    summary = road.evaluated.summary
    assert summary["n_pairs_q_05"] > 0
    methods = {row["method"] for row in road.evaluated.baselines}
    assert methods == {
        *("sae", "neuron", "pca", "ica", "random_plm_sae"),
        *("sae_shuffled_labels", "amino_acid", "window_of_3"),
        *("best_hit", "nearest_embedding"),
    }
    for row in road.evaluated.baselines:
        assert row["n_concepts_low"] <= row["n_concepts"] <= row["n_concepts_high"]
    assert summary["sae_shuffled_labels_concepts_f1_50"] <= summary["n_concepts_f1_50"]


def test_the_model_is_champion_with_its_evidence(road):
    models = list_models()
    (champion,) = models.filter(pl.col("aliases").list.contains("champion")).to_dicts()
    assert champion["name"] == "plmsae.plmsae-mini.L5.residue"
    bundle = resolve("plmsae.plmsae-mini.L5.residue@champion")
    assert bundle.concepts.height > 0
    assert bundle.features.height == bundle.meta.d_sae == 512
    assert bundle.meta.eval_data.sha256 != bundle.meta.train_data.sha256


def test_every_held_back_protein_is_scored(road):
    proteins = pl.read_parquet(road.scored.folder / "proteins")
    assert proteins.height == road.scored.n_scored == road.tables.n_held_back
    held_back = pl.read_csv(road.tables.held_back, separator="\t", infer_schema=False)
    assert set(proteins["accession"]) == set(held_back["Entry"])


def test_held_back_proteins_were_not_seen_before(road):
    entries = [
        set(pl.read_csv(path, separator="\t", infer_schema=False)["Entry"])
        for path in (road.tables.choose, road.tables.report, road.tables.held_back)
    ]
    assert sum(map(len, entries)) == len(set.union(*entries)) == 320
    assert resolve(str(road.trained.bundle)).meta.train_data.n_proteins == len(
        entries[0] | entries[1]
    )


def test_annotations_lie_within_their_proteins(road):
    annotations = pl.read_parquet(road.scored.folder / "annotations")
    lengths = pl.read_parquet(road.scored.folder / "proteins").select("accession", "length")
    joined = annotations.join(lengths, on="accession", how="left")
    assert joined["length"].null_count() == 0
    inside = (joined["start"] >= 1) & (joined["start"] <= joined["end"])
    assert (inside & (joined["end"] <= joined["length"])).all()


def test_the_model_carries_what_calls_and_how_precisely(road):
    bundle = resolve("plmsae.plmsae-mini.L5.residue@champion")
    assert set(bundle.concepts["caller"]) <= {"latent", "probe"}
    assert set(bundle.callers.calibrators) <= set(bundle.concepts["concept"])
    assert 0 <= road.evaluated.summary["ece"] <= 1
    annotations = pl.read_parquet(road.scored.folder / "annotations")
    assert annotations["probability"].is_between(0, 1).all()


def test_the_back_test_hides_known_labels_in_both_ways(road):
    rows = pl.DataFrame(road.filled.backtest)
    assert set(rows["hiding"]) == {"random", "cluster"}
    assert (rows["recovered"] <= rows["hidden"]).all()
    assert rows["hidden"].sum() > 0
    homology = pl.DataFrame(road.filled.backtest_homology).filter(bin="all")
    hidden = rows.group_by("hiding").agg(pl.col("hidden").sum())
    # The same labels were hidden.
    assert dict(homology.select("hiding", "hidden").iter_rows()) == dict(hidden.iter_rows())
    for name in ("backtest.tsv", "backtest.parquet", "backtest.png", "backtest_homology.tsv"):
        assert (road.filled.folder / name).is_file()
    assert any("labels hidden by family" in line for line in road.filled.lines())


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A proteome whose every label is known."""
    folder = tmp_path_factory.mktemp("simulated")
    simulate.run(
        SimulateRequest(out=folder / "data", n_families=12, proteins_per_family=4), Silent()
    )
    return folder / "data"


def test_hidden_labels_are_counted_against_the_truth(road, simulated, tmp_path):
    filled = fill.run(
        FillRequest(
            table=str(simulated / "annotations.tsv.gz"),
            truth=str(simulated / "truth.tsv.gz"),
            model=road.evaluated.model,
            out=tmp_path / "fill",
            min_precision=0.0,
        ),
        Silent(),
    )
    assert filled.truth["hidden"] > 0
    assert 0 <= filled.truth["recovered"] <= filled.truth["hidden"]
    assert filled.truth["proposed"] == filled.n_proposed
    complete = [row for row in filled.by_concept if not row["hidden"]]
    assert not any(row["correct"] for row in complete)


def test_reports_say_that_they_were_written_from_evidence_alone(road):
    assert set(road.reported.authors) == {"evidence only"}
    assert road.reported.pages["html"].read_text().count("<script") == 1  # of the index
    assert road.reported.metrics["report_n_tested"] > 0


def test_every_sentence_of_the_reports_is_true(road):
    from sentence_checkers import Tables, check_report

    from plmsae.concepts.labels.label_table import labels_from_uniprot
    from plmsae.proteins.uniprot import read_table
    from plmsae.scoring.encoding import load_encoder
    from plmsae.workflows.shared.inputs import read_protein_set

    told = json.loads(road.reported.pages["json"].read_text())
    bundle = resolve(told["about"]["model"])
    found = read_protein_set(str(road.tables.report), max_proteins=600, seed=0, progress=Silent())
    accessions = [protein.accession for protein in found.proteins]
    table = read_table(road.tables.report)
    arrays = load_encoder(bundle).encode(found.sequences)
    tables = Tables(
        features=bundle.features,
        concepts=bundle.concepts,
        labels=labels_from_uniprot(table),
        sequences=dict(zip(accessions, found.sequences, strict=True)),
        latents=dict(zip(accessions, (a.toarray() for a in arrays), strict=True)),
    )
    text = re.sub(r"\\(.)", r"\1", road.reported.pages["markdown"].read_text())
    bylines = re.findall(r"^\*((?:Unv|V)erified.*)\*$", text, re.MULTILINE)
    assert len(told["features"]) == 20
    for report, byline in zip(told["features"], bylines, strict=True):
        check_report(report, byline, tables)


def test_everything_is_in_mlflow(road):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{road.out.parent / 'mlflow.db'}")
    runs = mlflow.search_runs(search_all_experiments=True)
    assert set(runs["status"]) == {"FINISHED"}
    names = " ".join(runs["tags.mlflow.runName"])
    for station in ("demo", "plmsae-mini", "evaluate", "score", "fill", "report"):
        assert station in names
    trained = runs[runs["tags.mlflow.runName"].str.startswith("plmsae-mini")].iloc[0]
    history = mlflow.MlflowClient().get_metric_history(trained["run_id"], "fidelity/loss_recovered")
    assert len(history) >= 5


def test_the_closing_table_names_what_a_newcomer_wants_to_know(road):
    text = "\n".join(road.lines())
    for words in ("concepts found", "labels hidden by family", "came back", "mlflow ui"):
        assert words in text


def test_a_second_run_of_the_demo_replaces_what_the_first_wrote(road, monkeypatch):
    # Baselines say nothing of the calls, and take most of the time.
    monkeypatch.setattr(demo, "EvaluateRequest", partial(EvaluateRequest, baselines="none"))
    again = demo.run(small_demo(road.out), Silent())
    assert again.evaluated.model == "plmsae.plmsae-mini.L5.residue/2"
    assert again.scored.n_scored == road.scored.n_scored
    assert again.filled.backtest == road.filled.backtest


def test_a_finished_score_folder_passes_validation(road, tmp_path):
    request = ValidateRequest(path=str(road.scored.folder), out=tmp_path)
    outcome = validate.run(request, Silent())
    assert outcome.report.kind == "annotations"
    assert outcome.report.summary_path.exists()


def test_damaged_annotations_stop_with_a_report(road, tmp_path):
    copy = tmp_path / "scores"
    shutil.copytree(road.scored.folder, copy)
    part = next((copy / "annotations").glob("*.parquet"))
    frame = pl.read_parquet(part)
    frame.with_columns(end=pl.col("end") + 100_000).write_parquet(part)
    with pytest.raises(QualityError) as caught:
        validate.run(ValidateRequest(path=str(copy), out=tmp_path / "checked"), Silent())
    assert caught.value.exit_code == 3
    assert Path(caught.value.report).exists()


def test_several_layers_are_trained_on_one_pass(road, tmp_path):
    request = TrainRequest(
        proteins=str(road.tables.train),
        layers=(1, 6),
        overrides={"d_sae": 256, "n_vectors": 20_000, "k": 8, "batch_size": 512},
        max_proteins=80,
        out=tmp_path,
        register=False,
    )
    one, six = train.run(request, Silent())
    assert (one.layer, six.layer) == (1, 6)
    assert one.metrics["explained_variance"] > 0.3
    assert resolve(str(six.bundle)).meta.layer == 6


def test_a_protein_level_sae_is_trained_on_means(road, tmp_path):
    request = TrainRequest(
        proteins=str(road.tables.train),
        layers=(4,),
        unit="protein",
        overrides={"d_sae": 64, "n_vectors": 640, "k": 4, "batch_size": 32},
        out=tmp_path,
        register=False,
    )
    (outcome,) = train.run(request, Silent())
    bundle = resolve(str(outcome.bundle))
    assert bundle.meta.unit == "protein"


def test_wrong_inputs_are_one_clear_error(road, tmp_path):
    with pytest.raises(InputError, match=r"no such file|does not exist|there is no"):
        train.run(TrainRequest(proteins=str(tmp_path / "none.fasta"), out=tmp_path), Silent())
    with pytest.raises(InputError, match="no such model"):
        score.run(
            ScoreRequest(proteins="x.fasta", model="plmsae.none.L1.residue", out=tmp_path), Silent()
        )
