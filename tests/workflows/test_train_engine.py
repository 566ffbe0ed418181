"""Training from the command's side: several SAEs at once, from the running PLM or a cache."""

from __future__ import annotations

import functools
import json
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plmsae.bundle.reading import read_bundle
from plmsae.core.errors import InputError, QualityError
from plmsae.plm.model import Plm
from plmsae.sae.cache import CacheWriter
from plmsae.sae.data import as_source
from plmsae.sae.model import load_sae
from plmsae.workflows import train
from plmsae.workflows.shared.model_gate import check_models
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import TrainRequest
from plmsae.workflows.training import activation_cache, activations, measurement
from plmsae.workflows.training.plan import hold_out

SETTINGS = {
    **{"arch": "topk", "d_sae": 64, "n_vectors": 640, "batch_size": 64},
    **{"log_every": 1, "checkpoint_minutes": 0.0, "dead_window_share": 0.3},
}


class Tracked:
    """What a run was told to log."""

    run_id = "none"

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.stop: Callable[[int, dict[str, float]], None] = lambda step, metrics: None

    def log_metrics(self, step: int, metrics: dict[str, float]) -> None:
        self.metrics.append((step, metrics))
        self.stop(step, metrics)

    def set_tags(self, tags: dict[str, str]) -> None:
        pass

    def log_text(self, text: str, name: str) -> None:
        pass


class NoWarnings:
    """What a gate that is left out says."""

    kind = "proteins"

    def of(self, state: str) -> tuple[()]:
        return ()

    def verdicts(self) -> dict[str, str]:
        return {"verdict": "not checked"}


class Heard(Silent):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def leave_out_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the slowest metrics."""
    nothing: dict[str, float] = {}
    monkeypatch.setattr(
        measurement, "recovered", lambda _, parts, *__, **___: [nothing] * len(parts)
    )
    monkeypatch.setattr(train, "RecoveryProbe", lambda *_: lambda _: nothing)


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> Tracked:
    """Train without MLflow, without data checks and without the slowest metrics."""
    run = Tracked()

    @contextmanager
    def start_run(**_: Any) -> Iterator[Tracked]:
        yield run

    monkeypatch.setattr(train, "start_run", start_run)
    monkeypatch.setattr(train, "check_proteins", lambda *_, **__: NoWarnings())
    monkeypatch.setattr(train, "check_models", lambda *_: NoWarnings())
    monkeypatch.setattr(train, "log_data", lambda *_: None)
    leave_out_recovery(monkeypatch)
    torch.set_num_threads(1)
    return run


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The sequences that the PLM was run on, its probes left out."""
    found: set[str] = set()
    original = Plm.activations

    def activations_of(self: Plm, sequences: list[str], *args: Any, **more: Any) -> Any:
        found.update(sequences)
        return original(self, sequences, *args, **more)

    monkeypatch.setattr(Plm, "activations", activations_of)
    return found


def sequences(n: int = 40, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    return ["M" + "".join(rng.choice(letters, rng.integers(20, 40))) for _ in range(n)]


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    return write_fasta(tmp_path / "p.fasta", sequences())


def write_fasta(path: Path, proteins: list[str]) -> Path:
    path.write_text("".join(f">P{i}\n{s}\n" for i, s in enumerate(proteins)))
    return path


def run(fasta: Path, out: Path, progress: Any = None, **changes: Any) -> list[train.TrainOutcome]:
    overrides = SETTINGS | changes.pop("overrides", {})
    given = {"layers": (2,), "k": (4,), "register": False, "device": "cpu"} | changes
    request = TrainRequest(proteins=str(fasta), out=out, overrides=overrides, **given)
    return train.run(request, progress or Silent())


def same(one: train.TrainOutcome, other: train.TrainOutcome) -> bool:
    a, b = (load_sae(outcome.bundle / "sae").state_dict() for outcome in (one, other))
    return all(torch.equal(a[name], b[name]) for name in a)


def test_every_layer_and_k_is_trained_as_if_alone(
    fasta: Path, tmp_path: Path, tracked: Tracked
) -> None:
    together = run(fasta, tmp_path / "all", layers=(1, 2), k=(4, 8))
    assert [(o.layer, o.k) for o in together] == [(1, 4), (1, 8), (2, 4), (2, 8)]
    assert {o.bundle.parent.name for o in together} == {"L1-k4", "L1-k8", "L2-k4", "L2-k8"}
    logged = {name for _, metrics in tracked.metrics for name in metrics}
    assert {"reconstruction/L1.k4/fvu", "training/L2.k8/stall_share"} <= logged
    assert "reconstruction/L2.k8/held_out_fvu" in logged
    for outcome in together:
        assert f"layer {outcome.layer}, k {outcome.k}: explained variance" in outcome.lines()[0]
        meta = read_bundle(outcome.bundle).meta
        assert (meta.layer, meta.k) == (outcome.layer, outcome.k)
        assert meta.extra["recipe.k"] == outcome.k
        written = json.loads((outcome.bundle.parent / "train.json").read_text())
        assert written == outcome.to_json()
        assert written["pace"]["vectors_per_second"] > 0
        assert 0 <= written["pace"]["stall_share"] <= 1
        assert "% of the time spent waiting for batches" in outcome.lines()[2]
    assert {"training/L1.k4/run_stall_share", "training/L2.k8/run_vectors_per_second"} <= logged
    (alone,) = run(fasta, tmp_path / "alone", layers=(2,), k=(8,))
    assert alone.bundle.parent.name == "L2"
    assert same(together[3], alone)


def test_every_sae_becomes_a_version_of_its_layers_model(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from plmsae.registry.models import list_models

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "check_proteins", lambda *_, **__: NoWarnings())
    monkeypatch.setattr(train, "check_models", lambda *_: NoWarnings())
    monkeypatch.setattr(train, "log_data", lambda *_: None)
    leave_out_recovery(monkeypatch)
    outcomes = run(fasta, tmp_path / "out", layers=(1, 2), k=(4, 8), register=True)
    assert [o.model for o in outcomes] == [
        f"plmsae.plmsae-mini.L{layer}.residue/{version}" for layer in (1, 2) for version in (1, 2)
    ]
    listed = {(row["name"], row["version"]): row for row in list_models().to_dicts()}
    for outcome in outcomes:
        name, version = str(outcome.model).split("/")
        assert listed[name, version]["k"] == outcome.k
        assert listed[name, version]["aliases"] == (["challenger"] if outcome.k == 8 else [])
        assert outcome.lines()[1] == f"  registered as {outcome.model}"
    (made,) = mlflow.search_runs(experiment_names=["plmsae-train"]).to_dict("records")
    assert made["params.k"] == "[4, 8]"
    note = made["tags.mlflow.note.content"]
    assert "| layer 1, k 4 | explained variance " in note
    assert f"| layer 2, k 8: model | {outcomes[3].model} |" in note
    assert 0 <= made["metrics.training/L2.k8/stall_share"] <= 1


def test_a_transcoder_is_registered_apart_from_the_sae_of_the_layer_it_reads(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plmsae.registry.models import list_models, resolve

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("PLMSAE_CACHE", str(tmp_path / "downloads"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "check_proteins", lambda *_, **__: NoWarnings())
    monkeypatch.setattr(train, "check_models", lambda *_: NoWarnings())
    monkeypatch.setattr(train, "log_data", lambda *_: None)
    leave_out_recovery(monkeypatch)
    for number, target in enumerate(({}, {"target": "layer"}, {"target": "change"})):
        run(fasta, tmp_path / str(number), register=True, overrides=target)
    start = "plmsae.plmsae-mini.L2"
    names = [f"{start}-L3-change.residue", f"{start}-L3.residue", f"{start}.residue"]
    listed = list_models().to_dicts()
    assert [(row["name"], row["version"]) for row in listed] == [(name, "1") for name in names]
    found = [resolve(f"{name}@challenger") for name in names]
    assert [(b.meta.target, b.meta.target_layer) for b in found] == [
        *(("change", 3), ("layer", 3), ("input", None)),
    ]
    assert "gives what the blocks add up to layer 3" in found[0].card
    assert f"--model {names[0]}@challenger" in found[0].card
    assert "gives the activations of layer 3" in found[1].card


def test_without_k_it_is_the_recipes_or_the_overrides(
    fasta: Path, tmp_path: Path, tracked: Tracked
) -> None:
    (outcome,) = run(fasta, tmp_path / "out", k=(), overrides={"k": 6})
    assert outcome.k == 6
    assert read_bundle(outcome.bundle).meta.k == 6


def test_a_recipe_may_fix_the_penalty_in_place_of_k(
    fasta: Path, tmp_path: Path, tracked: Tracked
) -> None:
    recipe = tmp_path / "l1.yaml"
    recipe.write_text("arch: relu\nk:\nsparsity_coefficient: 0.5\n")
    (outcome,) = run(fasta, tmp_path / "out", k=(), recipe=str(recipe), overrides={"arch": "relu"})
    assert outcome.k is None
    recipe.write_text("arch: relu\nk:\n")
    with pytest.raises(InputError, match="training relu needs k or sparsity_coefficient"):
        run(fasta, tmp_path / "q", k=(), recipe=str(recipe), overrides={"arch": "relu"})


def test_an_sae_that_explains_nothing_is_neither_written_nor_registered(
    fasta: Path, tmp_path: Path, tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "check_models", check_models)
    run(fasta, tmp_path / "good")
    original = train.reconstructions
    worse = {"explained_variance": -0.3}
    monkeypatch.setattr(
        train, "reconstructions", lambda *a, **k: [m | worse for m in original(*a, **k)]
    )
    with pytest.raises(QualityError, match=r"explained_variance more than 0.*model L2") as caught:
        run(fasta, tmp_path / "wild")
    assert "lower the learning rate" in Path(str(caught.value.report)).read_text()
    assert not (tmp_path / "wild" / "L2" / "bundle").exists()


def test_the_weights_are_the_same_with_the_plm_running_ahead_or_not(
    fasta: Path, tmp_path: Path, tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The PLM is then asked from two threads.
    monkeypatch.setattr(train, "RecoveryProbe", measurement.RecoveryProbe)
    (ahead,) = run(fasta, tmp_path / "ahead")
    made = []

    def in_step(batches: Any) -> Any:
        made.append(batches)
        return as_source(batches)

    monkeypatch.setattr(activations, "PrefetchedBatches", in_step)
    (plain,) = run(fasta, tmp_path / "plain")
    assert len(made) == 1
    assert same(ahead, plain)
    assert "fidelity/loss_recovered" in tracked.metrics[-2][1]


@pytest.mark.parametrize("cache", [False, True])
def test_a_run_broken_off_ends_with_the_same_weights(
    cache: bool, fasta: Path, tmp_path: Path, tracked: Tracked
) -> None:
    def go(name: str) -> list[train.TrainOutcome]:
        folder = tmp_path / f"{name}-cache" if cache else None
        return run(fasta, tmp_path / name, layers=(1, 3), k=(4, 8), cache=folder)

    straight = go("straight")

    def stop(step: int, metrics: dict[str, float]) -> None:
        # Two of the four SAEs have taken the step, and only one of them has stored it.
        if step == 5 and "reconstruction/L1.k8/fvu" in metrics:
            raise KeyboardInterrupt

    tracked.stop = stop
    with pytest.raises(KeyboardInterrupt):
        go("broken")
    steps = {p.parent.name: p.name for p in (tmp_path / "broken").glob("checkpoints/sae-*/step-*")}
    assert steps["sae-0"] == "step-000000005"
    assert steps["sae-3"] == "step-000000004"
    tracked.stop = lambda step, metrics: None
    for one, other in zip(straight, go("broken"), strict=True):
        assert same(one, other)


def test_a_folder_of_another_run_is_not_gone_on_with(
    fasta: Path, tmp_path: Path, tracked: Tracked
) -> None:
    run(fasta, tmp_path / "out")
    others = write_fasta(tmp_path / "q.fasta", sequences(seed=1))
    for changed, named in (
        ({"fasta": others}, "proteins"),
        ({"layers": (3,)}, "--layers"),
        ({"k": (4, 8)}, "--k"),
        ({"cache": tmp_path / "cache"}, "--cache"),
    ):
        with pytest.raises(InputError, match=f"run with other {named}; give another --out"):
            run(**{"fasta": fasta, "out": tmp_path / "out"} | changed)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(InputError, match="d_sae"):
        run(fasta, tmp_path / "out", overrides={"d_sae": 32})
    # The same command again finds it finished.
    tracked.metrics.clear()
    run(fasta, tmp_path / "out")
    assert not any("reconstruction/fvu" in metrics for _, metrics in tracked.metrics)


def test_what_training_says_of_dead_latents_has_its_own_name(
    fasta: Path, tmp_path: Path, tracked: Tracked
) -> None:
    (outcome,) = run(fasta, tmp_path / "out")
    metrics = read_bundle(outcome.bundle).meta.metrics
    assert "dead_share" not in metrics
    assert metrics["train_dead_share"] == tracked.metrics[-2][1]["reconstruction/dead_share"]
    assert "dead share" in outcome.lines()[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": (2, 7)}, r"^--layers: plmsae-mini has layers 0 to 6 \(found '7'\)"),
        ({"layers": ()}, "^--layers: name at least one"),
        ({"k": (4, 0)}, "^--k: must be at least 1"),
        ({"k": (65,)}, r"k \(65\) must not exceed d_sae \(64\)"),
        ({"cache": Path("c"), "cache_dtype": "int8"}, "must be float16 or bfloat16 or float32"),
    ],
)
def test_a_wrong_request_names_the_option(
    changes: dict[str, Any],
    said: str,
    fasta: Path,
    tmp_path: Path,
    tracked: Tracked,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        run(fasta, tmp_path / "out", **changes)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_cache_serves_other_k_other_layers_and_other_seeds_without_the_plm(
    fasta: Path, tmp_path: Path, tracked: Tracked, ran: set[str]
) -> None:
    cache, heard = tmp_path / "cache", Heard()
    run(fasta, tmp_path / "first", heard, layers=(1, 2, 3), cache=cache)
    assert ran == set(sequences())
    assert heard.said == [f"caching layer 1, 2, 3 takes 0.00 GiB of disk in {cache}"]
    stored = files(cache)
    for name, changes in {
        "k": {"k": (4, 8)},
        "arch": {"overrides": {"arch": "batchtopk"}},
        "layer": {"layers": (3,)},
        "seed": {"seed": 5},
    }.items():
        ran.clear()
        seed = changes.get("seed", 0)
        run(fasta, tmp_path / name, cache=cache, **changes)
        assert ran == {sequences()[i] for i in hold_out(40, seed)[1]}
    assert files(cache) == stored
    (subset,) = run(fasta, tmp_path / "again", layers=(2,), cache=cache)
    first = tmp_path / "first" / "L2" / "bundle"
    known = {"layer": 2, "k": 4, "bundle": first, "model": None, "metrics": {}, "throughput": {}}
    assert same(subset, train.TrainOutcome(**known))


def test_a_cache_broken_off_ends_byte_for_byte_as_one_that_was_not(
    fasta: Path, tmp_path: Path, tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = functools.partial(CacheWriter, shard_rows=100)
    monkeypatch.setattr(activation_cache, "CacheWriter", writer)
    monkeypatch.setattr(activation_cache, "AT_ONCE", 8)
    (straight,) = run(fasta, tmp_path / "straight", cache=tmp_path / "whole")
    original, added = CacheWriter.add, []

    def add(self: CacheWriter, item: int, states: Any) -> None:
        if len(added) == 15:
            raise KeyboardInterrupt
        original(self, item, states)
        added.append(item)

    monkeypatch.setattr(CacheWriter, "add", add)
    with pytest.raises(KeyboardInterrupt):
        run(fasta, tmp_path / "out", cache=tmp_path / "cut")
    assert 0 < len(list((tmp_path / "cut" / "shards").iterdir())) < 7
    assert not json.loads((tmp_path / "cut" / "cache.json").read_text())["complete"]
    monkeypatch.setattr(CacheWriter, "add", original)
    heard = Heard()
    (resumed,) = run(fasta, tmp_path / "out", heard, cache=tmp_path / "cut")
    assert "takes more 0.00 GiB" in heard.said[0]
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert same(resumed, straight)


@pytest.mark.parametrize("unit", ["residue", "protein"])
def test_a_cache_holds_what_the_plm_says(
    unit: str, fasta: Path, tmp_path: Path, tracked: Tracked
) -> None:
    from plmsae.plm.model import load_plm
    from plmsae.sae.cached import CachedActivations

    settings = {"cache": tmp_path / "cache", "cache_dtype": "float32", "unit": unit}
    settings["precision"] = "fp32"
    run(fasta, tmp_path / "out", overrides={"batch_size": 8, "n_vectors": 80}, **settings)
    rows = torch.cat(list(CachedActivations(tmp_path / "cache", 2, batch_size=8).chunks()))
    plm = load_plm("plmsae-mini", device="cpu", max_layer=2)
    states = [x[2] for _, x in plm.activations(sequences(), [2])]
    if unit == "protein":
        states = [x_ND.mean(0, keepdim=True) for x_ND in states]
    assert torch.allclose(rows, torch.cat(states), atol=1e-5)


def test_a_cache_of_something_else_is_refused_in_one_line(
    fasta: Path, tmp_path: Path, tracked: Tracked
) -> None:
    cache = tmp_path / "cache"
    run(fasta, tmp_path / "first", layers=(1, 2), cache=cache)
    others = write_fasta(tmp_path / "q.fasta", sequences(seed=1))
    described = json.loads((cache / "cache.json").read_text())

    def refused(said: str, proteins: Path = fasta, **changes: Any) -> None:
        with pytest.raises(InputError, match=f"^{cache}: the cache .*{said}.*give --cache another"):
            run(proteins, tmp_path / "out", **{"layers": (2,), "cache": cache} | changes)

    refused("is of other proteins", others)
    refused("is of other proteins", max_proteins=20)
    refused("is of another unit", unit="protein")
    refused("has the layers 1, 2 .found '2, 3'", layers=(2, 3))
    refused("is of float16", cache_dtype="bfloat16")
    for name, said in (
        ("plm_vocabulary", "another vocabulary of the PLM"),
        ("plm_revision", "another revision of the PLM"),
        ("plm", "another PLM"),
    ):
        described["source"][name] = "other"
        (cache / "cache.json").write_text(json.dumps(described))
        refused(f"is of {said}")


def test_a_disk_too_small_is_said_before_anything_is_written(
    fasta: Path, tmp_path: Path, tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2, 1, 1))
    heard = Heard()
    with pytest.raises(InputError, match=r"the activations need .* GiB, the disk has 0.0"):
        run(fasta, tmp_path / "out", heard, cache=tmp_path / "cache")
    assert heard.said[0].startswith("caching layer 2 takes ")
    assert not (tmp_path / "cache").exists()
