"""Commands and Python blocks of the documentation are ones that this version understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from plmsae.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
GROUP: Any = typer.main.get_command(app)
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "plmsae").rglob("README.md")),
]
# What is printed by --help is written from the program, and "…" stands for what a reader fills in.
GENERATED = {ROOT / "docs" / "cli.md"}


def blocks(page: Path, languages: set[str]) -> list[str]:
    found = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    return [text for language, text in found if language in languages]


def commands(page: Path) -> list[str]:
    """Each ``plmsae …`` line of the page's blocks, continued lines joined, comments dropped."""
    lines: list[str] = []
    for text in blocks(page, {"", "sh", "bash", "console"}):
        for line in re.sub(r"\\\n\s*", " ", text).splitlines():
            parts = re.split(r"&& |\| ", re.sub(r"\s#.*", "", line))
            lines += [
                part.strip() for part in parts if re.match(r"\s*(\.venv/bin/)?plmsae \w", part)
            ]
    return lines


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p not in GENERATED], ids=lambda p: str(p.relative_to(ROOT))
)
def test_commands_parse(page: Path) -> None:
    for line in commands(page):
        if "…" in line:
            continue
        name, *arguments = shlex.split(line)[1:]
        if arguments != ["--help"]:
            GROUP.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_compiles(page: Path) -> None:
    for text in blocks(page, {"python", "py"}):
        source = "\n".join(
            line[4:] for line in text.splitlines() if line.startswith((">>> ", "... "))
        )
        compile(source or text, str(page), "exec")


def test_the_readme_shows_commands() -> None:
    assert len(commands(ROOT / "README.md")) >= 4
