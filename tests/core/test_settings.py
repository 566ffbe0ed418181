"""Settings read from dataclasses, and made of plain values."""

from __future__ import annotations

import ast
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from plmsae.core.errors import InputError
from plmsae.core.settings import check_settings, make_settings, read_settings, settings_values
from plmsae.workflows.shared import requests


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 4
    """Width."""
    secret: int = 1
    rate: float | Literal["auto"] = "auto"


@dataclass(frozen=True, kw_only=True)
class Outer:
    path: Path
    """Where
    it lies."""
    mode: Literal["fast", "slow"] | None = None
    layers: tuple[int, ...] = (4,)
    inner: Inner = field(default=Inner(width=8), metadata={"fixed": ("secret",)})


def test_an_embedded_configuration_brings_its_fields_with_the_defaults_of_its_owner() -> None:
    found = {setting.name: setting for setting in read_settings(Outer)}
    assert list(found) == ["path", "mode", "layers", "width", "rate"]
    assert (found["width"].default, found["width"].inside) == (8, "inner")
    assert found["path"].doc == "Where it lies."
    assert found["path"].required
    assert found["mode"].choices == ("fast", "slow")


def test_values_are_converted_and_put_where_they_belong() -> None:
    made = make_settings(Outer, {"path": "a", "layers": [1, 2], "rate": 1, "width": 2})
    assert made == Outer(path=Path("a"), layers=(1, 2), inner=Inner(width=2, rate=1.0))
    assert make_settings(Outer, {"path": "a", "layers": 3}).layers == (3,)
    assert settings_values(made)["width"] == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mode": "quick"}, "'mode' must be fast or slow or nothing"),
        ({"width": 2.5}, "'width' must be int"),
        ({"width": True}, "'width' must be int"),
        ({"rate": "high"}, "'rate' must be auto or float"),
        ({"layers": ["x"]}, "'layers' must be int"),
        ({"secret": 2}, "unknown setting 'secret'"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_settings(Outer, {"path": "a", **values})


def test_closed_choices_are_checked() -> None:
    check_settings(Outer(path=Path("a"), mode="slow"))
    with pytest.raises(InputError, match="must be fast or slow"):
        check_settings(Outer(path=Path("a"), mode="quick"))  # type: ignore[arg-type]


def test_all_settings_of_a_request_become_parameters_of_its_run() -> None:
    request = requests.ScoreRequest(proteins="p", model="NAME@champion", out="o")
    logged = requests.request_params(request, model="models:/NAME/3")
    assert set(logged) == {field.name for field in dataclasses.fields(request)}
    assert logged["model"] == "models:/NAME/3"
    pretrain = requests.PretrainRequest(proteins=("p",), out=Path("o"))
    assert requests.request_params(pretrain)["n_layers"] == pretrain.config.n_layers


def test_every_workflow_that_opens_a_run_logs_its_whole_request() -> None:
    folder = Path(requests.__file__).resolve().parents[1]
    found = []
    for path in sorted(folder.rglob("*.py")):
        calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
        later = [n.args[0] for n in calls if ast.unparse(n.func) == "tracked.log_params"]
        for node in calls:
            if ast.unparse(node.func) == "start_run":
                # A corpus is read within the run, and tells what its files are.
                given = [k.value for k in node.keywords if k.arg == "params"] or later
                found += [(path.stem, ast.unparse(params)) for params in given[:1]]
                assert given, path.stem
    assert len(found) >= 9
    assert all(text.startswith("request_params(request") for _, text in found), found
