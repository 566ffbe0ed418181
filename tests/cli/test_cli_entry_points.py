"""MLproject entry points: every parameter reaches the command of the same name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_fakes import install

from plmsae.cli.app import run
from plmsae.cli.commands import COMMANDS
from plmsae.cli.entry_point import command_line, run_entry_point
from plmsae.core.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))
NAMES = [spec.name for spec in COMMANDS]
# What stands for a value where one must be given: a file, a name or a number.
ANY = "7"


def filled(name: str, **given: str) -> list[str]:
    """Return what the entry point's script gets, with quoting as MLflow does it."""
    entry = PROJECT["entry_points"][name]
    (spec,) = [spec for spec in COMMANDS if spec.name == name]
    given = {s.name: s.choices[0] for s in spec.options if s.required and s.choices} | given
    values = {n: given.get(n, p.get("default", ANY)) for n, p in entry["parameters"].items()}
    command = entry["command"].format(**{n: shlex.quote(str(v)) for n, v in values.items()})
    python, script, *pairs = shlex.split(command)
    assert (python, script) == ("python", f"pipelines/{name}.py")
    return pairs


@pytest.mark.parametrize("name", NAMES)
def test_defaults_of_an_entry_point_are_those_of_the_command(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = install(monkeypatch, name)
    assert run(command_line(name, filled(name))) == 0
    (spec,) = [spec for spec in COMMANDS if spec.name == name]
    required: dict[str, Any] = {}
    for setting in spec.options:
        if setting.required:
            value = setting.choices[0] if setting.choices else ANY
            kind = setting.item if setting.kind is tuple else setting.kind
            value = kind(value)
            required[setting.name] = (value,) if setting.kind is tuple else value
    assert workflow.requests == [spec.request(**required)]


def test_given_parameters_reach_the_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    train = install(monkeypatch, "train")
    pairs = filled("train", proteins="a b.fasta", layers="1..3", register="False", d_sae="64")
    assert run(command_line("train", pairs)) == 0
    (request,) = train.requests
    assert (request.proteins, request.layers) == ("a b.fasta", (1, 2, 3))
    assert (request.register, request.overrides) == (False, {"d_sae": 64})


def test_several_k_and_a_folder_reach_the_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    train, imported = install(monkeypatch, "train"), install(monkeypatch, "import")
    assert run(command_line("train", filled("train", proteins="a.fa", k="8,16", cache="c d"))) == 0
    assert (train.requests[0].k, train.requests[0].cache) == ((8, 16), Path("c d"))
    pairs = filled("import", source="sae", folder="there", plm="esm2-8m", layer="4", k="8")
    assert run(command_line("import", pairs)) == 0
    (request,) = imported.requests
    assert (request.source, request.folder) == ("sae", Path("there"))
    assert (request.plm, request.layer, request.k) == ("esm2-8m", 4, 8)


def test_commas_separate_files_and_a_dash_is_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    pretrain = install(monkeypatch, "pretrain")
    pairs = filled("pretrain", proteins="a.fa,b.fa", out="-odd", held_out="x.fa,y.fa")
    assert run(command_line("pretrain", pairs)) == 0
    (request,) = pretrain.requests
    assert request.proteins == ("a.fa", "b.fa")
    assert request.held_out == ("x.fa", "y.fa")
    assert request.out == Path("-odd")


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["--layrs", "3"], "unknown parameter"),
        (["--register", "maybe"], "must be true or false"),
        (["--layers"], "parameters come as --name value"),
    ],
)
def test_a_wrong_parameter_is_named(pairs: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        command_line("train", pairs)


def test_a_wrong_parameter_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_entry_point("train", ["--layrs", "3"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("plmsae: error: entry point train: unknown parameter")


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_point_has_its_script_and_documents_its_parameters(name: str) -> None:
    script = (ROOT / "pipelines" / f"{name}.py").read_text(encoding="utf-8")
    assert f'run_entry_point("{name}")' in script
    text = (ROOT / "MLproject").read_text(encoding="utf-8")
    block = text.split(f"\n  {name}:\n")[1].split("\n    command:")[0]
    assert not re.findall(r"\}\n      \w+:", block), "a parameter without a comment above it"


def test_the_project_is_never_installed_into_an_environment_that_others_share() -> None:
    text = (ROOT / "conda.yaml").read_text(encoding="utf-8")
    assert not re.search(r"-e\b|^\s*- \.|plmsae\s*[=@]", text, re.MULTILINE)
