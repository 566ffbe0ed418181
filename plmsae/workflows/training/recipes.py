"""Training recipes: reviewed YAML files that say how an SAE is trained for one PLM.

`plmsae.workflows.shared.recipe_settings` derives what a recipe may say from the configurations of
the SAE and of its training, which own the meaning and the range of each value. Here name and type
are checked, so that a typo is found before hours are spent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from plmsae.bundle.naming import is_slug
from plmsae.core.errors import InputError, NotFoundError
from plmsae.core.resources import registry_path
from plmsae.workflows.shared.recipe_settings import KEYS

DEFAULT = "default"


def recipe_names() -> list[str]:
    """Return the names of all recipes, sorted."""
    return sorted(path.stem for path in registry_path("recipes").glob("*.yaml"))


def recipe_for(plm: str) -> str:
    """Return the recipe to use for a PLM: the one of its short name, or ``default``."""
    return plm if plm in recipe_names() else DEFAULT


def load_recipe(name: str | Path = DEFAULT) -> dict[str, Any]:
    """Read a recipe, on top of the default one.

    Parameters
    ----------
    name : str or Path
        A name under ``registry/recipes/``, or the path of a YAML file of the same form.

    Returns
    -------
    dict
        Keys of `recipe_settings.KEYS`; every key of ``default.yaml`` is there.

    Raises
    ------
    InputError
        If there is no such recipe, or it holds an unknown key or a value of the wrong type.
    """
    values = _read(registry_path("recipes") / f"{DEFAULT}.yaml")
    if str(name) == DEFAULT:
        return values
    return {**values, **_read(_find(name))}


def _find(name: str | Path) -> Path:
    text = str(name)
    if text.endswith((".yaml", ".yml")):
        path = Path(text)
        if not path.is_file():
            raise NotFoundError("no such recipe file", where=path)
        return path
    # Only a plain name becomes part of a path.
    path = registry_path("recipes") / f"{text}.yaml"
    if not is_slug(text) or not path.is_file():
        raise NotFoundError(
            "no such recipe", value=text, hint=f"there are {', '.join(recipe_names())}"
        )
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"not readable as YAML: {error}", where=path) from error
    if not isinstance(values, dict):
        raise InputError("a recipe is a list of 'key: value' lines", where=path)
    return {str(key): _typed(str(key), value, path) for key, value in values.items()}


def _typed(key: str, value: Any, path: Path) -> Any:
    if key not in KEYS:
        raise InputError(f"unknown key {key!r}", where=path, hint=f"known: {', '.join(KEYS)}")
    if key == "lr" and isinstance(value, str) and value != "auto":
        # YAML reads 1e-4, without a dot, as text.
        raise InputError(f"{key!r} must be auto or a number like 1.0e-4", where=path, value=value)
    return KEYS[key].convert(value, where=path)
