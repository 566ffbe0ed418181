"""Registering and resolving against a real MLflow store on SQLite."""

from __future__ import annotations

import pickle
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from plmsae.bundle.reading import Bundle, read_bundle
from plmsae.core.errors import InputError, UnsafeArtifactError
from plmsae.core.resources import cache_folder
from plmsae.registry.mlflow_model import LOADER, check_mlmodel_text
from plmsae.registry.models import compare, list_models, register, resolve
from plmsae.registry.versions import ModelRef
from plmsae.tracking.runs import start_run
from plmsae.tracking.store import client

Make = Callable[..., Bundle]
NAME = "plmsae.plmsae-mini.L4.residue"


def artifacts(uri: str, ref: ModelRef) -> Path:
    """Return where the artifacts of a registered version lie on disk."""
    return Path(client(uri).get_logged_model(ref.model_id).artifact_location)


def test_every_way_to_name_a_model_finds_it(make_bundle: Make, store_uri: str) -> None:
    bundle = make_bundle()
    ref = register(bundle, aliases=("challenger", "champion"))
    assert (ref.name, ref.version) == (NAME, "1")
    for text in (
        NAME,
        f"{NAME}@challenger",
        f"{NAME}/1",
        f"models:/{NAME}@champion",
        f"models:/{NAME}/1",
        f"models:/{ref.model_id}",
        ref.uri,
        str(bundle.path),
        str(artifacts(store_uri, ref)),
    ):
        assert resolve(text).digest == bundle.digest, text


def test_versions_count_up_and_aliases_move(make_bundle: Make, store_uri: str) -> None:
    first, second = register(make_bundle()), register(make_bundle(seed=2))
    assert (first.version, second.version) == ("1", "2")
    assert resolve(f"{NAME}@challenger", tracking_uri=store_uri).meta.seed == 2
    assert resolve(f"{NAME}/1").meta.seed == 0


def test_the_version_carries_identity_metrics_and_card(make_bundle: Make, store_uri: str) -> None:
    bundle = make_bundle()
    register(bundle, tags={"note": "first"})
    version = client(store_uri).get_model_version(NAME, "1")
    expected = {"plm": "plmsae-mini", "layer": "4", "unit": "residue", "arch": "topk", "k": "2"}
    expected |= {"d_sae": "6", "explained_variance": "0.9", "n_concepts_f1_50": "8"}
    expected |= {"note": "first", "bundle_sha256": bundle.digest}
    assert expected.items() <= version.tags.items()
    assert version.description.startswith(f"# {bundle.name}\n")
    assert f"--model {bundle.name}/1 --out scored" in version.description


def test_the_model_holds_plain_data_and_names_only_our_loader(
    make_bundle: Make, store_uri: str
) -> None:
    folder = artifacts(store_uri, register(make_bundle()))
    spec = yaml.safe_load((folder / "MLmodel").read_text())
    assert set(spec["flavors"]) == {"python_function"}
    assert spec["flavors"]["python_function"]["loader_module"] == LOADER
    assert spec["flavors"]["python_function"]["code"] is None
    assert spec["signature"]["inputs"] is None  # a table or a list; see `_signature`
    assert '"latents"' in spec["signature"]["outputs"]
    assert '"min_precision"' in spec["signature"]["params"]
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {path.rsplit(".")[-1] for path in names} <= {
        *("MLmodel", "json", "md", "parquet", "safetensors", "yaml", "txt")
    }
    assert "input_example.json" in names
    requirements = (folder / "requirements.txt").read_text()
    assert "plmsae==" in requirements
    assert "+cpu" not in requirements


def test_mlflow_loads_it_through_our_loader_without_pickle(
    make_bundle: Make, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc
    import pandas as pd

    class Model:
        def __init__(self, path: str) -> None:
            self.bundle = read_bundle(Path(path))

        def predict(self, frame: pd.DataFrame, params: dict[str, object]) -> list[object]:
            return [self.bundle.name, list(frame.columns), params]

    fake = types.ModuleType(LOADER)
    fake._load_pyfunc = Model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, LOADER, fake)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    folder = artifacts(store_uri, register(make_bundle(min_precision=0.9)))
    model = mlflow.pyfunc.load_model(str(folder))
    found = model.predict(pd.DataFrame({"sequence": ["MKV"]}))
    assert found == [NAME, ["sequence"], {"min_precision": 0.9, "per_sequence": False}]


def test_registering_does_not_import_the_loader(
    make_bundle: Make, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, LOADER, None)  # Importing it would raise.
    assert register(make_bundle()).version == "1"


def test_a_registered_model_does_not_tell_where_it_was_made(
    make_bundle: Make, store_uri: str, tmp_path: Path
) -> None:
    folder = artifacts(store_uri, register(make_bundle()))
    for path in folder.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path


def test_a_model_is_tied_to_the_run_that_made_it(make_bundle: Make, store_uri: str) -> None:
    with start_run() as run:
        ref = register(make_bundle())
    store = client(store_uri)
    version = store.get_model_version(NAME, "1")
    assert version.run_id == run.run_id
    assert store.get_run(run.run_id).outputs.model_outputs[0].model_id == ref.model_id
    measured = {m.key: m.value for m in store.get_logged_model(ref.model_id).metrics}
    assert measured["reconstruction/explained_variance"] == 0.9
    assert set(measured) == set(store.get_run(run.run_id).data.metrics)


def test_a_failed_upload_leaves_no_version(
    make_bundle: Make, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("mlflow.MlflowClient.log_model_artifacts", fail)
    with pytest.raises(InputError, match="disk full"):
        register(make_bundle())
    assert list_models().is_empty()


def test_a_download_happens_once(make_bundle: Make, store_uri: str, tmp_path: Path) -> None:
    ref = register(make_bundle())
    assert not (tmp_path / "cache").exists()
    first = resolve(f"{NAME}/1")
    assert first.path.is_relative_to(tmp_path / "cache" / "models" / ref.model_id)
    shutil.rmtree(artifacts(store_uri, ref))
    assert resolve(f"{NAME}/1").digest == first.digest


def test_a_damaged_cache_is_fetched_again(make_bundle: Make, store_uri: str) -> None:
    register(make_bundle())
    path = resolve(f"{NAME}/1").path
    (path / "features.parquet").write_bytes(b"")
    assert resolve(f"{NAME}/1").features.height == 6


def test_the_cache_folder_follows_the_environment_and_is_not_made_by_asking(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PLMSAE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "plmsae"
    assert not (tmp_path / "xdg").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plmsae.plmsae-mini.L5.residue", f"did you mean {NAME}.*plmsae models"),
        (f"{NAME}/7", "no version /7; there are versions 1 and aliases @challenger"),
        (f"{NAME}@best", "no alias @best"),
        (NAME, f"no alias @champion.*plmsae promote {NAME}/1"),
        ("models:/m-00000000000000000000000000000000", "no logged model"),
        ("no/such/folder", "not a model reference"),
        ("../../etc/passwd", "not a model reference"),
        ("a' OR 1=1@x", "not a model reference"),
        ("", "not a model reference"),
    ],
)
def test_a_model_that_is_not_there_is_one_helpful_line(
    make_bundle: Make, store_uri: str, text: str, said: str
) -> None:
    register(make_bundle())
    with pytest.raises(InputError, match=said) as caught:
        resolve(text or "@")
    assert "\n" not in str(caught.value)


def test_listing_shows_every_version_with_its_aliases_and_metrics(
    make_bundle: Make, store_uri: str
) -> None:
    assert list_models().is_empty()
    register(make_bundle(), aliases=("champion",))
    register(make_bundle(metrics={"train_dead_share": 0.0}))
    register(make_bundle(layer=2))
    frame = list_models(tracking_uri=store_uri)
    assert frame.select("name", "version").rows() == [
        ("plmsae.plmsae-mini.L2.residue", "1"),
        (NAME, "2"),
        (NAME, "1"),
    ]
    assert frame["aliases"].to_list() == [["challenger"], ["challenger"], ["champion"]]
    assert frame["dead_share"].to_list() == [
        0.02,
        0.0,
        0.02,
    ]  # of training, where only that was measured
    assert frame["layer"].to_list() == [2, 4, 4]
    assert frame.columns == list_models(tracking_uri=store_uri).columns


def test_comparing_puts_registered_models_and_folders_side_by_side(
    make_bundle: Make, store_uri: str
) -> None:
    register(make_bundle())
    folder = make_bundle(layer=2, metrics={"explained_variance": 0.5, "own": 1.0}).path
    frame = compare([f"{NAME}/1", folder])
    assert frame["layer"].to_list() == [4, 2]
    assert frame["explained_variance"].to_list() == [0.9, 0.5]
    assert frame["own"].to_list() == [None, 1.0]
    assert not cache_folder().exists()


# --- Hostile models ---


def mlmodel(**changes: object) -> str:
    flavor = {"loader_module": LOADER, "data": "data/bundle", "code": None, **changes}
    return yaml.safe_dump({"flavors": {"python_function": flavor}})


def test_our_own_mlmodel_is_accepted() -> None:
    check_mlmodel_text(mlmodel(), where="MLmodel")


@pytest.mark.parametrize(
    "text",
    [
        mlmodel(loader_module="os"),
        mlmodel(loader_module="mlflow.sklearn"),
        mlmodel(loader_module="plmsae.scoring.pyfunc.evil"),
        mlmodel(loader_module=[LOADER]),
        mlmodel(code="code"),
        mlmodel(python_model="python_model.pkl"),
        mlmodel(artifacts={"x": {"path": "x"}}),
        mlmodel(data="../../outside"),
        mlmodel(data="/etc"),
        yaml.safe_dump({"flavors": {"python_function": {}, "sklearn": {}}}),
        yaml.safe_dump({"flavors": {"sklearn": {"pickled_model": "model.pkl"}}}),
        "!!python/object/apply:os.system ['true']",
        "[1, 2]",
        "",
        "{",
    ],
)
def test_an_mlmodel_that_would_run_something_else_is_refused(text: str) -> None:
    with pytest.raises(UnsafeArtifactError):
        check_mlmodel_text(text, where="MLmodel")


def hostile(folder: Path, kind: str) -> None:
    if kind == "loader":
        text = (folder / "MLmodel").read_text()
        (folder / "MLmodel").write_text(text.replace(LOADER, "this"))
    elif kind == "code folder":
        (folder / "code").mkdir()
        (folder / "code" / "evil.py").write_text("raise SystemExit('it ran')")
    elif kind == "pickle beside":
        (folder / "python_model.pkl").write_bytes(pickle.dumps(1))
    elif kind == "pickle inside":
        (folder / "data" / "bundle" / "probe.pkl").write_bytes(pickle.dumps(1))
    elif kind == "link":
        (folder / "data" / "bundle" / "x.md").symlink_to("/etc/hostname")
    elif kind == "second bundle":
        shutil.copytree(folder / "data" / "bundle", folder / "data" / "other")
    elif kind == "changed weights":
        path = folder / "data" / "bundle" / "sae" / "sae_weights.safetensors"
        path.write_bytes(path.read_bytes()[:-4] + b"evil")


@pytest.mark.parametrize(
    "kind",
    [
        *("loader", "code folder", "pickle beside", "pickle inside", "link", "second bundle"),
        "changed weights",
    ],
)
def test_a_hostile_model_is_refused_from_the_registry_and_from_a_folder(
    make_bundle: Make, store_uri: str, kind: str
) -> None:
    ref = register(make_bundle())
    folder = artifacts(store_uri, ref)
    hostile(folder, kind)
    # MLflow itself fails to download some of these; what it downloads, we refuse.
    with pytest.raises(InputError):
        resolve(f"{NAME}/1")
    with pytest.raises(UnsafeArtifactError):
        resolve(folder)
    # Nothing of it stays behind to be found later.
    assert not (cache_folder() / "models" / ref.model_id).exists()


def test_a_bundle_swapped_for_another_valid_one_is_refused(
    make_bundle: Make, store_uri: str
) -> None:
    folder = artifacts(store_uri, register(make_bundle())) / "data" / "bundle"
    shutil.rmtree(folder)
    shutil.copytree(make_bundle(seed=666).path, folder)
    with pytest.raises(UnsafeArtifactError, match="not the one that was registered"):
        resolve(f"{NAME}/1")


def test_a_bundle_with_a_pickle_cannot_be_registered(make_bundle: Make, store_uri: str) -> None:
    bundle = make_bundle()
    (bundle.path / "model.pkl").write_bytes(pickle.dumps(1))
    with pytest.raises(UnsafeArtifactError):
        register(bundle)
    assert list_models().is_empty()


def test_a_version_that_mlflow_people_registered_otherwise_is_refused(
    store_uri: str, tmp_path: Path
) -> None:
    store = client(store_uri)
    store.create_registered_model(NAME)
    store.create_model_version(NAME, source=str(tmp_path))
    with pytest.raises(InputError, match="not registered by plmsae"):
        resolve(f"{NAME}/1")
