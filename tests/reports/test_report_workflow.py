"""The command as a whole: on a registered model, with and without Claude."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from api_server import serving
from scipy.sparse import csr_array
from test_claude_predictions import honest

from plmsae.core.fingerprint import DataFingerprint
from plmsae.registry.models import register
from plmsae.tracking.store import client
from plmsae.tracking.summary import NOTE, PAGE
from plmsae.workflows.report import run
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import ReportRequest

MOTIF = "GESGVGKS"


class MotifEncoder:
    """Latent 0 fires on as much of the motif as a protein has, the others never."""

    def encode(self, sequences: list[str]) -> list[csr_array]:
        arrays = []
        for sequence in sequences:
            dense = np.zeros((len(sequence), 6), dtype=np.float32)
            best = max((n for n in range(4, 9) if MOTIF[:n] in sequence), default=0)
            if best:
                dense[sequence.index(MOTIF[:best]) + 2, 0] = 2.5 * best / 8
            arrays.append(csr_array(dense))
        return arrays


def write_proteins(path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["Entry\tProtein names\tOrganism\tGene Ontology IDs\tMotif\tSequence"]
    for i in range(60):
        sequence = "".join(rng.choice(list("ACDEFHIKLMNPQRTVWY"), 90))
        n = [8, 8, 6, 5, 0, 0][i % 6]
        sequence = sequence[:40] + MOTIF[:n] + sequence[40:]
        motif = 'MOTIF 41..48; /note="P-loop"' if n else ""
        lines.append(f"P{10000 + i}\tProtein {i}\tBacillus\tGO:0005525\t{motif}\t{sequence}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def request_of(
    make_bundle: Callable[..., Any],
    store_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., ReportRequest]:
    monkeypatch.setattr("plmsae.scoring.encoding.load_encoder", lambda *_a, **_k: MotifEncoder())
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    ref = register(make_bundle())
    proteins = write_proteins(tmp_path / "proteins.tsv")

    def make(**changes: Any) -> ReportRequest:
        return ReportRequest(
            model=str(ref), proteins=str(proteins), out=tmp_path / "out", **changes
        )

    return make


def test_without_a_key_features_are_tested_by_rule_and_the_version_gets_the_median_r(
    request_of: Callable[..., ReportRequest], store_uri: str
) -> None:
    request = request_of(n_features=2)
    outcome = run(request, Silent())
    assert outcome.authors == {"evidence only": 2}
    assert outcome.metrics["report_n_tested"] == 1  # the other one never fires
    assert outcome.metrics["report_median_r"] > 0.8
    name, version = request.model.split("/")
    tags = client(store_uri).get_model_version(name, version).tags
    assert float(tags["report_median_r"]) == pytest.approx(outcome.metrics["report_median_r"], 1e-3)
    (page,) = [p for p in outcome.pages.values() if p.suffix == ".json"]
    first = json.loads(page.read_text())["features"][0]
    assert first["evidence"]["examples"][0]["organism"] == "Bacillus"
    assert first["evidence"]["examples"][0]["terms"] == ["GO:0005525"]
    assert (request.out / "features" / "0.html").is_file()
    store = client(store_uri)
    experiment = store.get_experiment_by_name("plmsae-report")
    (made,) = store.search_runs([experiment.experiment_id])
    for kind in ("proteins", "evidence"):
        assert made.data.metrics[f"quality_{kind}_failed"] == 0
        assert made.data.metrics[f"quality_{kind}_met"] > 5
        assert "expectations are met" in made.data.tags[f"quality_{kind}"]
    about = json.loads(page.read_text())["about"]
    assert made.data.tags["quality_evidence"] in about["quality of the evidence"]
    assert about["warnings of the model's gates"] == "none"
    assert "| tests | 1 verified of 1 tested on proteins held back" in made.data.tags[NOTE]
    assert PAGE in [file.path for file in store.list_artifacts(made.info.run_id)]


def test_features_picked_by_hand_leave_what_a_version_says(
    request_of: Callable[..., ReportRequest], store_uri: str
) -> None:
    request = request_of(n_features=2)
    name, version = request.model.split("/")
    run(request, Silent())
    before = client(store_uri).get_model_version(name, version)
    by_hand = run(dataclasses.replace(request, latents=(0,)), Silent())
    after = client(store_uri).get_model_version(name, version)
    assert before.tags["report_n_features"] == "2"
    assert by_hand.n_features == 1
    assert after.tags == before.tags
    assert "[2 features](" in before.description == after.description


def test_a_report_on_the_proteins_of_the_choice_warns_and_the_version_says_what_r_is_of(
    request_of: Callable[..., ReportRequest],
    make_bundle: Callable[..., Any],
    store_uri: str,
) -> None:
    measured_on = DataFingerprint(source="other.tsv", sha256="1" * 64)
    extra = {"split": "chosen on proteins.tsv, reported on other.tsv, homologues may be in both"}
    ref = register(make_bundle(eval_data=measured_on, extra=extra))
    request = dataclasses.replace(request_of(n_features=1), model=str(ref))
    outcome = run(request, Silent())
    assert "proteins.tsv has the name of the file on which" in outcome.warning
    assert f"warning: {outcome.warning}" in outcome.lines()
    assert outcome.to_json()["warning"] == outcome.warning
    page = html.unescape(outcome.pages["html"].read_text())
    assert f"Warning:</strong> {outcome.warning}." in page
    assert "warning: proteins.tsv has the name" in outcome.pages["markdown"].read_text()
    tags = client(store_uri).get_model_version(ref.name, ref.version).tags
    assert tags["report_proteins"].startswith("60 of proteins.tsv (sha256 ")
    assert "chosen on proteins.tsv" in tags["report_proteins"]
    assert (tags["report_n_tested"], tags["report_n_detection"]) == ("1", "1")
    extra = {"split": "chosen on another.tsv, reported on other.tsv, homologues may be in both"}
    other = register(make_bundle(eval_data=measured_on, extra=extra))
    silent = run(dataclasses.replace(request, model=str(other)), Silent())
    assert silent.warning == ""
    assert "Warning:" not in silent.pages["html"].read_text()


def test_with_a_key_prompts_are_registered_calls_traced_and_a_dry_run_sends_nothing(
    request_of: Callable[..., ReportRequest], store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    with serving(honest, count=lambda _body: (200, {"input_tokens": 1000})) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{api.port}")
        planned = run(request_of(latents=(0,), dry_run=True), Silent())
        assert not api.messages
        assert planned.dry_run is not None
        assert planned.dry_run.testing.n_questions == 2
        assert "no question was asked" in planned.lines()[0]
        assert len(api.counted) == 3
        alone = run(request_of(latents=(0,), dry_run=True, no_llm=True), Silent())
        assert len(api.counted) == 3  # with --no-llm nothing is sent at all
        assert alone.dry_run is not None
        assert alone.dry_run.cost_usd > planned.dry_run.cost_usd
        outcome = run(request_of(latents=(0,)), Silent())
    assert outcome.authors == {"claude-sonnet-5-5": 1}
    store = client(store_uri)
    experiment = store.get_experiment_by_name("plmsae-report")
    (found,) = store.search_runs([experiment.experiment_id])
    assert found.data.params["prompt.plmsae-describe-feature.version"] == "2"
    assert found.data.params["llm"] == "claude-sonnet-5-5"
    traces = store.search_traces(locations=[experiment.experiment_id], run_id=found.info.run_id)
    assert len(traces) == len(api.messages) == 3
