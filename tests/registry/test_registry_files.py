"""The reviewed YAML files, names, and fingerprints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.bundle.naming import model_name, parse_reference, plm_slug
from plmsae.core.errors import InputError
from plmsae.core.fingerprint import DataFingerprint, fingerprint_file, fingerprint_records
from plmsae.core.resources import registry_path
from plmsae.proteins.records import Protein
from plmsae.sae.config import TrainConfig
from plmsae.workflows.training.recipes import KEYS, load_recipe, recipe_for, recipe_names


def test_the_catalogue_is_complete_and_consistent() -> None:
    plms = yaml.safe_load(registry_path("plms.yaml").read_text())["plms"]
    assert list(plms) == [
        *("plmsae-mini", "esm2-8m", "esm2-35m", "esm2-150m", "esm2-650m", "esm2-3b", "esm2-15b"),
    ]
    for name, entry in plms.items():
        assert ("path" in entry) != ("hub_id" in entry), name
        assert entry["licence"] == "MIT"
        if "hub_id" in entry:
            assert max(entry["suggested_layers"]) <= entry["n_layers"]
            # The hub id itself says how many blocks there are: esm2_t33_650M_UR50D.
            assert f"_t{entry['n_layers']}_" in entry["hub_id"]
    assert len({entry.get("hub_id") for entry in plms.values()}) == len(plms)


def test_names_use_the_short_name_of_the_catalogue() -> None:
    assert model_name("facebook/esm2_t6_8M_UR50D", 4, "residue") == "plmsae.esm2-8m.L4.residue"
    assert model_name("esm2-8m", 0, "protein") == "plmsae.esm2-8m.L0.protein"
    assert plm_slug("Some-Org/Model.v2") == "some-org--model-v2"


def test_a_transcoder_is_called_after_both_layers_and_what_it_gives() -> None:
    names = {
        target: model_name("esm2-8m", 4, "residue", target=target, target_layer=above)
        for target, above in (("input", None), ("layer", 5), ("change", 5))
    }
    assert names == {
        "input": "plmsae.esm2-8m.L4.residue",
        "layer": "plmsae.esm2-8m.L4-L5.residue",
        "change": "plmsae.esm2-8m.L4-L5-change.residue",
    }
    for name in names.values():
        for text in (name, f"{name}@champion", f"models:/{name}/3"):
            assert parse_reference(text).name == name


@pytest.mark.parametrize(
    ("target", "above"), [("input", 5), ("layer", None), ("change", 4), ("layer", 3), ("skip", 5)]
)
def test_a_target_that_cannot_be_has_no_name(target: str, above: int | None) -> None:
    with pytest.raises(InputError):
        model_name("esm2-8m", 4, "residue", target=target, target_layer=above)


@pytest.mark.parametrize("folder", ["/home/me/secret/My PLM", "./a/My PLM/", "C:\\me\\My PLM"])
def test_a_name_does_not_tell_where_a_folder_lies(folder: str) -> None:
    assert plm_slug(folder) == "my-plm"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_plm_gives_a_name_that_can_be_asked_for_again_or_a_clear_error(plm: str) -> None:
    try:
        name = model_name(plm, 3, "residue")
    except InputError:
        return
    assert parse_reference(f"models:/{name}@champion").name == name
    assert name.count(".") == 3


@pytest.mark.parametrize(("layer", "unit"), [(-1, "residue"), (1, "atom")])
def test_a_name_needs_a_layer_and_a_unit_that_exist(layer: int, unit: str) -> None:
    with pytest.raises(InputError):
        model_name("esm2-8m", layer, unit)


def test_every_recipe_is_valid_and_named_after_its_plm() -> None:
    plms = yaml.safe_load(registry_path("plms.yaml").read_text())["plms"]
    for name in recipe_names():
        recipe = load_recipe(name)
        assert set(recipe) <= set(KEYS)
        assert recipe["k"] < recipe["d_sae"]
        assert name == "default" or name in plms


def test_the_default_recipe_says_what_the_trainer_would_do_without_it() -> None:
    trainer = asdict(TrainConfig(n_vectors=10_000_000))
    recipe = load_recipe()
    assert {"lr", "dead_window_share", "per_row_share"} <= set(recipe) & set(trainer)
    for key in set(recipe) & set(trainer):
        assert recipe[key] == trainer[key], key


def test_a_recipe_starts_from_the_default() -> None:
    assert load_recipe("esm2-650m")["k"] == 64
    assert load_recipe("esm2-650m")["lr"] == load_recipe()["lr"] == "auto"
    assert recipe_for("esm2-8m") == "esm2-8m"
    assert recipe_for("esm2-3b") == "default"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rate: 0.1", "unknown key 'learning_rate'"),
        ("lr: 1e-4", "number like 1.0e-4"),
        ("k: many", "'k' must be int or nothing"),
        ("k: true", "'k' must be int or nothing"),
        ("n_vectors: 1.5", "'n_vectors' must be int"),
        ("- k", "list of 'key: value'"),
        ("k: !!python/name:os.system", "YAML"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        load_recipe(path)


def test_a_recipe_of_ones_own_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("lr: 1.0e-4\ngrad_clip: 2\nk: null\n")
    recipe = load_recipe(path)
    assert (recipe["lr"], recipe["grad_clip"], recipe["k"]) == (1e-4, 2.0, None)


@pytest.mark.parametrize("name", ["nope", "../promotion", "/etc/passwd", "", "DEFAULT"])
def test_a_recipe_that_is_not_there_lists_what_is(name: str) -> None:
    with pytest.raises(InputError, match="plmsae-mini"):
        load_recipe(name)


def test_fingerprints_tell_any_difference(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # The test vector of FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert fingerprint_file(tmp_path / "a") == expected

    def proteins(*pairs: tuple[str, str]) -> list[Protein]:
        return [Protein(accession=a, sequence=s) for a, s in pairs]

    base = fingerprint_records(proteins(("A", "MK"), ("B", "ML")))
    assert base == fingerprint_records(iter(proteins(("A", "MK"), ("B", "ML"))))
    for other in (
        proteins(("B", "ML"), ("A", "MK")),
        proteins(("A", "MK")),
        proteins(("AM", "K"), ("B", "ML")),
        proteins(("A", "MKB"), ("", "ML")),
    ):
        assert fingerprint_records(other) != base
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        DataFingerprint(source="x", sha256="abc")
