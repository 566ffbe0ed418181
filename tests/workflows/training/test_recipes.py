"""Recipes: the reviewed ones, and those of a user."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from plmsae.core.errors import InputError
from plmsae.core.resources import registry_path
from plmsae.sae.config import TrainConfig
from plmsae.workflows.shared.recipe_settings import KEYS
from plmsae.workflows.training.recipes import load_recipe, recipe_for, recipe_names


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
