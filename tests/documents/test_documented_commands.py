"""Commands of the documents and of the help that take seconds are run as they are printed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from test_cli_documents import DOCUMENTS, commands

from plmsae.cli.app import EXAMPLES, run
from plmsae.cli.commands import COMMANDS

CHEAP = {"models", "compare", "lineage", "promote", "features", "validate", "export", "ablate"}
"""What takes seconds. The others are parsed (tests/cli/test_cli_documents.py), and their workflows
are run by tests of their own."""


def printed() -> list[list[str]]:
    """Return the arguments of all cheap commands that are printed somewhere, each once."""
    shown = [words for path in DOCUMENTS for words in commands(path.read_text(encoding="utf-8"))]
    helped = [line for command in COMMANDS for line in command.examples]
    helped += [line for lines in EXAMPLES.values() for line in lines]
    shown += [shlex.split(line.split(" | ")[0])[1:] for line in helped if line[:6] == "plmsae"]
    found = {shlex.join(words): words for words in shown if words[0] in CHEAP}
    return list(found.values())


@pytest.mark.parametrize("arguments", printed(), ids=shlex.join)
def test_a_printed_command_works(arguments: list[str], inside: Path) -> None:
    assert run(arguments) == 0


def test_every_kind_of_cheap_command_is_printed_somewhere() -> None:
    assert {words[0] for words in printed()} == CHEAP


def test_models_names_the_model_of_the_documents(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == "plmsae.plmsae-mini.L5.residue"
    assert sorted(row["aliases"]) == ["challenger", "champion"]


@pytest.mark.parametrize("name", sorted({c.name for c in COMMANDS} | set(EXAMPLES)))
def test_the_help_of_a_command_shows_its_examples(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0
    assert f"plmsae {name}" in capsys.readouterr().out
