"""Commands that the documents tell people to type exist, with these options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from bundle_fixtures import Make

from plmsae.bundle.card import model_card
from plmsae.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
# docs/cli.md is made from the program itself.
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
SHELL = {"", "sh", "bash", "console"}


def commands(text: str) -> list[list[str]]:
    """Return the arguments of every plmsae command in the blocks of a document."""
    found = []
    for language, block in BLOCK.findall(text):
        if language not in SHELL:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.split(" | ")[0].removeprefix("$ "), comments=True)
            if words[:1] == ["plmsae"] and "…" not in words:
                found.append(words[1:])
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_a_document_is_understood(path: Path) -> None:
    check(path.read_text(encoding="utf-8"))


def test_every_entry_point_of_a_document_exists_with_its_parameters() -> None:
    entries = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]
    found = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for name, rest in re.findall(r"mlflow run \. -e (\w+)([^`\n]*)", text):
            given = re.findall(r"-P (\w+)=", rest)
            found.append(name)
            assert set(given) <= set(entries[name]["parameters"]), (path.name, name)
    assert len(found) >= 5


def test_every_command_of_a_model_card_is_understood(make_bundle: Make) -> None:
    card = model_card(make_bundle())
    assert len(commands(card)) == 3
    check(card)


def check(text: str) -> None:
    group = typer.main.get_command(app)
    for name, *arguments in commands(text):
        # Parsing alone: it raises for what the command does not know, or does not get.
        group.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


def test_the_readme_has_commands_to_understand() -> None:
    assert len(commands((ROOT / "README.md").read_text(encoding="utf-8"))) >= 5
