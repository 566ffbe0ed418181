"""Workflows that only remember what they were asked."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from plmsae.cli.commands import COMMANDS


@dataclass
class Outcome:
    text: str = "all done"

    def lines(self) -> list[str]:
        return [self.text, "second line"]

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text}


class Workflow:
    """Stands where ``plmsae.workflows.NAME`` would, and acts as told."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.requests: list[Any] = []

    def run(self, request: Any, progress: Any) -> Any:
        self.requests.append(request)
        with progress.task("working") as task:
            task.update(1, 2, "a note")
        progress.say("said")
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


def install(monkeypatch: pytest.MonkeyPatch, name: str, result: Any = None) -> Workflow:
    """Put a `Workflow` in the place of the one called `name`."""
    workflow = Workflow(Outcome() if result is None else result)
    (spec,) = [spec for spec in COMMANDS if spec.name == name]
    module = ModuleType(f"plmsae.workflows.{spec.module or name}")
    module.run = workflow.run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return workflow
