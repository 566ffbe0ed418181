"""Files made from the code: ``docs/cli.md``, the pages of columns and tables, ``MLproject``.

``python -m plmsae.cli.reference`` in a checkout writes them, and those of
`plmsae.cli.api_reference`; a test says when it must be run.
"""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from typing import Any

import typer

from plmsae.cli.api_reference import api_page, stub
from plmsae.cli.app import ORDER, app
from plmsae.cli.commands import COMMANDS, WorkflowCommand
from plmsae.cli.fields import Option
from plmsae.cli.values import show_numbers
from plmsae.concepts import columns
from plmsae.quality import page as tables
from plmsae.scoring import schema

_WIDTH = 96

_TYPES: dict[type, str] = {
    **{str: "string", int: "int", float: "float", bool: "bool"},
    **{tuple: "string", Path: "string"},
}

_CLI_HEAD = """\
# The command line

Made from the program by `python -m plmsae.cli.reference`; do not edit. `plmsae COMMAND --help` says
the same.

Results go to standard output (`--json` for programs), progress and messages to standard error:
bars on a terminal, a line now and then elsewhere, nothing with `--quiet`.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | a bug in plmsae, or out of memory; `--debug` shows the traceback |
| 2 | the input or the arguments are wrong; one line says what, where and what to do |
| 3 | a quality gate failed: a critical expectation of `validate`, or a gate of `promote` |
| 130 | interrupted; the message says what was kept, from which the same command continues |
"""

_MLPROJECT_HEAD = """\
# Entry points for `mlflow run . -e NAME -P parameter=value`, each the command `plmsae NAME`.
# Made from the program by `python -m plmsae.cli.reference`; do not edit.
#
# An empty value means not given. Environments: `--env-manager local` uses the Python that runs
# mlflow; `uv` makes one of its own and needs no conda; `conda` is for those who have it.
name: plmsae
conda_env: conda.yaml

entry_points:
"""


def cli_page() -> str:
    """Return ``docs/cli.md``."""
    group = typer.main.get_command(app)
    parts = [_CLI_HEAD, _section("plmsae", group)]
    commands = group.commands  # type: ignore[attr-defined]
    parts += [_section(f"plmsae {name}", commands[name]) for name in ORDER]
    return "\n".join(parts)


def mlproject() -> str:
    """Return ``MLproject``."""
    return _MLPROJECT_HEAD + "\n".join(_entry_point(spec) for spec in COMMANDS)


def pages() -> dict[str, str]:
    """Return every generated file by its path in a checkout."""
    return {
        "docs/cli.md": cli_page(),
        "docs/reference/columns.md": columns.page(),
        "docs/reference/tables.md": tables.page(),
        "docs/reference/score-columns.md": schema.page(),
        "MLproject": mlproject(),
        "docs/api.md": api_page(),
        "plmsae/__init__.pyi": stub(),
    }


def _section(path: str, command: Any) -> str:
    # A fixed width: the page must not depend on the terminal that made it.
    context = command.make_context(
        path, [], resilient_parsing=True, terminal_width=_WIDTH, max_content_width=_WIDTH
    )
    shown = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    return f"## {path}\n\n```text\n{shown}\n```\n"


def _entry_point(spec: WorkflowCommand) -> str:
    lines = [f"  {spec.name}:", f"    # {spec.about}", "    parameters:"]
    names = []
    for option in spec.options:
        names.append(option.name)
        lines += _parameter(
            option.name, _type(option), _default(option), _about(option), required=option.required
        )
    lines.append("    command: >-")
    command = f"python pipelines/{spec.name}.py " + " ".join(f"--{n} {{{n}}}" for n in names)
    lines += textwrap.wrap(
        command, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
    )
    return "\n".join(lines) + "\n"


def _parameter(name: str, kind: str, default: str, about: str, *, required: bool) -> list[str]:
    comment = textwrap.wrap(about, _WIDTH - 8, initial_indent="# ", subsequent_indent="# ")
    value = f"{{type: {kind}}}" if required else f"{{type: {kind}, default: {default or repr('')}}}"
    return [*(" " * 6 + line for line in comment), f"      {name}: {value}"]


def _about(option: Option) -> str:
    text = option.help
    if option.choices:
        text += f" One of {', '.join(option.choices)}."
    if option.kind is tuple and option.item is str:
        text += " Several are separated by commas."
    return text.strip()


def _type(option: Option) -> str:
    shape = option.shape
    if shape.argument and option.kind is str and not (option.choices or shape.is_name):
        return "path"  # Must exist; MLflow makes it absolute, or fetches it where it is a URI.
    if option.kind is float and option.choices:
        return "string"
    return _TYPES[option.kind]


def _default(option: Option) -> str:
    value = option.default
    if value is None or value is dataclasses.MISSING or value == ():
        return ""
    if option.kind is bool:
        return f"'{str(value).lower()}'"
    if option.kind is tuple:
        return f"'{show_numbers(value)}'"
    if option.kind in (int, float):
        return str(value)
    return f"'{value}'"


if __name__ == "__main__":
    for path, text in pages().items():
        (Path.cwd() / path).write_text(text, encoding="utf-8")
