"""Promotion gates, and the log of who became champion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from tiny_bundle import METRICS

from plmsae.bundle.meta import EVAL_LABELS, TRAIN_RUN
from plmsae.bundle.reading import Bundle
from plmsae.core.errors import InputError, QualityError
from plmsae.core.fingerprint import DataFingerprint
from plmsae.registry.comparison import ModelComparison
from plmsae.registry.gates import Gate, GateResult, check_gates, load_gates
from plmsae.registry.lineage import lineage
from plmsae.registry.models import register, resolve
from plmsae.registry.promotion import GatesNotMetError, promote, promotion_log
from plmsae.registry.versions import ModelRef
from plmsae.tracking.runs import start_run
from plmsae.tracking.store import client

Make = Callable[..., Bundle]
NAME = "plmsae.plmsae-mini.L4.residue"


def test_a_good_first_candidate_becomes_champion(make_bundle: Make, store_uri: str) -> None:
    register(make_bundle())
    result = promote(f"{NAME}@challenger")
    assert (result.promoted, result.previous, result.forced) == (True, None, False)
    assert all(gate.passed for gate in result.gates)
    assert len(result.gates) == len(load_gates())
    assert resolve(NAME, tracking_uri=store_uri).meta.seed == 0


def test_a_name_alone_means_its_challenger(make_bundle: Make, store_uri: str) -> None:
    register(make_bundle())
    assert promote(NAME).ref.version == "1"


def test_a_failing_gate_is_named_and_the_champion_stays(make_bundle: Make, store_uri: str) -> None:
    register(make_bundle())
    promote(f"{NAME}/1")
    register(make_bundle(metrics={**METRICS, "dead_share": 0.5, "loss_recovered": 0.1}))
    with pytest.raises(QualityError) as caught:
        promote(f"{NAME}/2")
    message = str(caught.value)
    assert "expected dead_share <= 0.3, found 0.5" in message
    assert "never fire" in message
    assert "loss_recovered >= 0.7" in message
    assert caught.value.exit_code == 3
    assert resolve(NAME).meta.metrics["dead_share"] == 0.02
    assert promotion_log(NAME).height == 1


def test_a_metric_nobody_measured_fails_its_gate(make_bundle: Make, store_uri: str) -> None:
    register(make_bundle(metrics={}))
    with pytest.raises(QualityError, match="explained_variance was not measured"):
        promote(f"{NAME}/1")


def test_a_clearly_worse_model_does_not_replace_the_champion(
    make_bundle: Make, store_uri: str
) -> None:
    register(make_bundle())
    promote(f"{NAME}/1")
    register(make_bundle(metrics={**METRICS, "n_concepts_f1_50": 5.0}))
    with pytest.raises(QualityError, match=r"n_concepts_f1_50 >= 6 .*champion -2.*, found 5"):
        promote(f"{NAME}/2")


def test_features_that_find_less_than_neurons_are_not_promoted(
    make_bundle: Make, store_uri: str
) -> None:
    register(make_bundle(metrics={**METRICS, "neuron_concepts_f1_50": 20.0}))
    with pytest.raises(QualityError, match=r"n_concepts_f1_50 >= 20 \(neuron_concepts_f1_50\)"):
        promote(f"{NAME}/1")


def test_force_promotes_and_the_log_says_so(make_bundle: Make, store_uri: str) -> None:
    register(make_bundle())
    promote(f"{NAME}/1")
    register(make_bundle(metrics={}))
    assert promote(f"{NAME}/2", force=True, reason="a\ntrial").forced
    promote(f"{NAME}/1")
    log = promotion_log(NAME)
    assert log.select("from", "to", "forced", "reason").rows() == [
        (None, "1", False, None),
        ("1", "2", True, "a trial"),
        ("2", "1", False, None),
    ]
    assert log["by"].null_count() == 0
    failed = [gate for gate in json.loads(log["gates"][1]) if not gate["passed"]]
    assert failed[0]["found"] == "explained_variance was not measured"


@pytest.mark.parametrize("reason", ["", " \n", "x" * 501])
def test_force_needs_a_reason_of_some_words(make_bundle: Make, store_uri: str, reason: str) -> None:
    register(make_bundle())
    with pytest.raises(InputError, match="--reason"):
        promote(f"{NAME}/1", force=True, reason=reason)
    assert promotion_log(NAME).height == 0


def test_the_challenger_is_compared_before_the_alias_moves(
    make_bundle: Make, store_uri: str
) -> None:
    register(make_bundle())
    promote(f"{NAME}/1")
    register(make_bundle(metrics={**METRICS, "explained_variance": 0.95, "dead_share": 0.1}))
    seen: list[str] = []

    def look(comparison: ModelComparison | None, gates: tuple[GateResult, ...]) -> None:
        assert comparison is not None
        better = {metric.name: metric.better for metric in comparison.metrics}
        assert better["explained_variance"] == "challenger"
        assert better["dead_share"] == "champion"  # fewer dead latents are better
        assert better["loss_recovered"] == "equal"
        assert "4 proteins of report.tsv.gz" in comparison.data
        champion = client(store_uri).get_model_version_by_alias(NAME, "champion")
        seen.append(str(champion.version))

    result = promote(f"{NAME}/2", on_checked=look)
    assert seen == ["1"]
    assert result.promoted
    assert result.comparison is not None
    assert result.comparison.same_data


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"eval_data": DataFingerprint(source="b.tsv", sha256="3" * 64)}, "different proteins"),
        ({"extra": {EVAL_LABELS: "4" * 64}}, "different labels"),
        ({"extra": {}}, "not both say with which labels"),
        ({"eval_data": None}, "only one of them says"),
    ],
)
def test_what_was_measured_on_other_data_is_not_ranked(
    make_bundle: Make, store_uri: str, changes: dict[str, object], said: str
) -> None:
    register(make_bundle())
    promote(f"{NAME}/1")
    register(make_bundle(**changes))
    with pytest.raises(GatesNotMetError, match=said) as caught:
        promote(f"{NAME}/2")
    comparison = caught.value.comparison
    assert comparison is not None
    assert {metric.better for metric in comparison.metrics} == {None}
    shown = {metric.name: metric.challenger for metric in comparison.metrics}
    assert shown.items() <= METRICS.items()
    failed = [gate.gate for gate in caught.value.gates if not gate.passed]
    assert {gate.relative_to for gate in failed} == {"champion"}
    assert resolve(NAME).meta.extra == {EVAL_LABELS: "2" * 64}
    assert promote(f"{NAME}/2", force=True, reason="new release of the labels").forced


def with_failed_gate(bundle: Bundle, store_uri: str) -> ModelRef:
    """Register a bundle from a run one of whose quality gates failed."""
    with start_run(tracking_uri=store_uri) as run:
        run.log_metrics(0, {"quality_proteins_failed": 0, "quality_models_failed": 1})
        return register(bundle, run_id=run.run_id)


def test_a_version_whose_quality_gates_failed_is_not_promoted(
    make_bundle: Make, store_uri: str
) -> None:
    ref = with_failed_gate(make_bundle(), store_uri)
    with pytest.raises(
        GatesNotMetError, match=r"quality_failed <= 0, found 1 \(models: 1 expectations failed"
    ):
        promote(str(ref))
    assert promotion_log(NAME).height == 0
    forced = promote(str(ref), force=True, reason="a trial")
    assert [gate.gate.metric for gate in forced.gates if not gate.passed] == ["quality_failed"]


def test_what_failed_in_the_training_counts_for_the_evaluated_version(
    make_bundle: Make, store_uri: str
) -> None:
    with start_run(tracking_uri=store_uri) as trained:
        trained.set_tags({"quality_models": "1 of 12 checked expectations failed critically"})
    with start_run(tracking_uri=store_uri) as evaluated:
        evaluated.set_tags({"quality_models": "12 of 12 expectations are met"})
        ref = register(make_bundle(extra={TRAIN_RUN: trained.run_id}), run_id=evaluated.run_id)
    with pytest.raises(GatesNotMetError, match="models: 1 of 12 checked"):
        promote(str(ref))


def test_a_failed_gate_is_a_tag_of_the_version_and_counts_though_its_runs_are_gone(
    make_bundle: Make, store_uri: str
) -> None:
    verdict = "1 of 12 checked expectations failed critically"
    with start_run(tracking_uri=store_uri) as run:
        run.set_tags({"quality_models": verdict})
        ref = register(make_bundle(), run_id=run.run_id)
    tags = client(store_uri).get_model_version(NAME, ref.version).tags
    assert tags["quality_models"] == verdict
    lost = register(make_bundle(extra={TRAIN_RUN: "0" * 32}), tags={"quality_models": verdict})
    with pytest.raises(GatesNotMetError, match="quality_failed"):
        promote(str(lost))


def test_where_no_quality_gate_is_recorded_the_gate_says_so(
    make_bundle: Make, store_uri: str
) -> None:
    register(make_bundle())
    (gate,) = [g for g in promote(NAME).gates if g.gate.metric == "quality_failed"]
    assert (gate.passed, gate.found) == (True, "quality_failed was not measured (skipped)")


@pytest.mark.parametrize(("at", "champion"), [("before", "1"), ("after", "2")])
def test_of_an_interrupted_promotion_the_log_says_what_the_alias_says(
    make_bundle: Make, store_uri: str, monkeypatch: pytest.MonkeyPatch, at: str, champion: str
) -> None:
    register(make_bundle())
    promote(f"{NAME}/1")
    register(make_bundle())
    original = MlflowClient.set_registered_model_alias

    def interrupted(self: MlflowClient, name: str, alias: str, version: str) -> None:
        if at == "after":
            original(self, name, alias, version)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", interrupted)
        with pytest.raises(KeyboardInterrupt):
            promote(f"{NAME}/2", reason="better")
    found = client(store_uri).get_model_version_by_alias(NAME, "champion")
    assert str(found.version) == champion
    assert promotion_log(NAME)["to"].to_list()[-1] == champion
    assert [move["to"] for move in lineage(f"{NAME}/2").promotions] == ["2"][: int(champion) - 1]
    # The next promotion puts the log in order for good.
    promote(f"{NAME}/2")
    register(make_bundle())
    promote(f"{NAME}/3")
    assert promotion_log(NAME)["to"].to_list() == ["1", "2", "3"]
    tags = client(store_uri).get_registered_model(NAME).tags
    assert not [text for text in tags.values() if '"done"' in text]


def test_promoting_the_champion_again_changes_and_logs_nothing(
    make_bundle: Make, store_uri: str
) -> None:
    register(make_bundle())
    promote(f"{NAME}/1")
    assert not promote(f"{NAME}/1").promoted
    assert promotion_log(NAME).height == 1


def test_edited_tags_do_not_fool_the_gates(make_bundle: Make, store_uri: str) -> None:
    register(make_bundle(metrics={**METRICS, "dead_share": 0.9}))
    client(store_uri).set_model_version_tag(NAME, "1", "dead_share", "0.0")
    with pytest.raises(QualityError, match=r"found 0\.9"):
        promote(f"{NAME}/1")


def test_only_registered_versions_can_be_promoted(make_bundle: Make, store_uri: str) -> None:
    ref = register(make_bundle())
    for text in (f"models:/{ref.model_id}", "./folder", f"{NAME}/9", "plmsae.x.L1.residue"):
        with pytest.raises(InputError):
            promote(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "list called 'gates'"),
        ("gates: []", "list called 'gates'"),
        ("gates: [5]", "gate 1"),
        ("gates: [{metric: a, op: '>', value: 1}]", "gate 1.*'op'"),
        ("gates: [{metric: a, op: '>=', value: high}]", "'value'"),
        ("gates: [{metric: a, op: '>=', value: 1, relative_to: best}]", "'relative_to'"),
        ("gates: [{metric: a, op: '>=', value: 1, because: x}]", "because"),
        ("gates: !!python/object/apply:os.getcwd []", "YAML"),
        ("gates: [", "YAML"),
    ],
)
def test_a_wrong_gates_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "promotion.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        load_gates(path)
    assert "promotion.yaml" in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(
    found=st.floats(-1e6, 1e6),
    bound=st.floats(-1e6, 1e6),
    op=st.sampled_from([">=", "<="]),
)
def test_a_plain_gate_is_the_comparison_it_says(found: float, bound: float, op: str) -> None:
    (result,) = check_gates((Gate(metric="m", op=op, value=bound),), {"m": found}, None)
    near = abs(found - bound) <= 1e-9 * max(1, abs(bound))
    assert result.passed == (near or (found >= bound if op == ">=" else found <= bound))


def test_rounding_in_the_last_digit_does_not_decide() -> None:
    gate = Gate(metric="ev", op=">=", value=-0.02, relative_to="champion")
    # 0.3 - 0.02 is 0.27999999999999997 or 0.28, depending on who computes it.
    (result,) = check_gates((gate,), {"ev": 0.28}, {"ev": 0.1 + 0.2})
    assert result.passed


def test_a_model_of_which_no_concept_can_be_called_is_not_promoted(
    make_bundle: Make, store_uri: str
) -> None:
    register(make_bundle(metrics={**METRICS, "n_concepts_callable": 0.0}))
    with pytest.raises(QualityError, match=r"n_concepts_callable >= 1, found 0"):
        promote(f"{NAME}/1")


def test_the_champion_itself_is_not_told_that_there_is_none(
    make_bundle: Make, store_uri: str
) -> None:
    register(make_bundle())
    promote(f"{NAME}/1")
    again = promote(f"{NAME}/1")
    found = [gate.found for gate in again.gates if gate.gate.relative_to == "champion"]
    assert found == ["it is the champion itself"] * 2
    assert not again.promoted


def test_a_gate_without_a_number_or_a_champion_does_not_apply_and_is_not_called_met() -> None:
    gates = (
        Gate(metric="explained_variance", op=">=", value=0.6),
        Gate(metric="loss_recovered", op=">=", value=0.7, if_missing="skip"),
        Gate(metric="explained_variance", op=">=", value=-0.02, relative_to="champion"),
        Gate(metric="dead_share", op="<=", value=0.3),
    )
    results = check_gates(gates, {"explained_variance": 0.9}, None)
    assert [r.verdict for r in results] == ["met", "does not apply", "does not apply", "not met"]
    assert [r.passed for r in results] == [True, True, True, False]
    (compared,) = check_gates(gates[2:3], {"explained_variance": 0.9}, {"explained_variance": 0.95})
    assert compared.verdict == "not met"
