"""The machinery that asks Claude, on a server of this machine whose answers are made up: a table.

``python tests/reports/loopback_table.py`` prints it for ``docs/results.md``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from api_server import LOST, Api, Reply, error, message, serving
from held_out_world import world
from test_batch_killed import killed_while_sending
from test_claude_predictions import guessing, honest, settings

from plmsae.reports.claude.asking import Outcome
from plmsae.reports.describe import describe_all
from plmsae.reports.dry_run import dry_run
from plmsae.reports.evidence import FeatureEvidence
from plmsae.reports.report import EVIDENCE_ONLY

N_FEATURES = 10
HEAD = (
    *("what the server does", "questions", "requests", "of these refused", "asked again"),
    *("kept on the disk", "described", "tested", "verified", "median r", "cost", "at most"),
)

Answer = Callable[[dict[str, Any]], Reply]


class First:
    """Spoils the first request for each second question, and answers the others."""

    def __init__(self, spoilt: Reply) -> None:
        self.spoilt = spoilt
        self.asked: Counter[str] = Counter()
        self.questions: dict[str, int] = {}

    def __call__(self, body: dict[str, Any]) -> Reply:
        text = json.dumps(body, sort_keys=True)
        self.asked[text] += 1
        number = self.questions.setdefault(text, len(self.questions))
        return self.spoilt if self.asked[text] == 1 and number % 2 == 0 else honest(body)


def refusing(_body: dict[str, Any]) -> Reply:
    return 200, message("", "refusal")


def row(
    name: str, api: Api, evidence: list[FeatureEvidence], folder: Path, batch: bool = False
) -> tuple[str, ...]:
    """Describe and test all features; return a row of the table."""
    most = dry_run(evidence, settings=settings(), cache_dir=folder, batch=batch).cost_usd
    outcomes: list[Outcome] = []
    statuses: list[int] = []
    answer = api.reply

    def noted(body: dict[str, Any]) -> Reply:
        reply = answer(body)
        statuses.append(reply[0])
        return reply

    api.reply = noted
    before = set(api.batches)
    reports = describe_all(
        evidence, client=api.client(), settings=settings(), cache_dir=folder, batch=batch, jobs=1,
        on_outcome=outcomes.append,
    )  # fmt: skip
    api.reply = answer
    kept = sum(outcome.usage.cached for outcome in outcomes if outcome.answer is not None)
    refused = sum(status > 200 for status in statuses)
    words = [report for report in reports if report.author != EVIDENCE_ONLY]
    r = [report.test.r for report in words if report.test is not None]
    spent = sum(report.usage.cost_usd for report in reports if report.usage)
    sent = [f"{len(n)} in a batch" for name, n in api.batches.items() if name not in before]
    requests = ", ".join([*sent, *([str(len(api.messages))] if api.messages else [])]) or "0"
    asked = len(statuses) - refused
    api.messages.clear()
    return (
        name,
        str(len(outcomes)),
        requests,
        str(refused),
        str(asked - (len(outcomes) - kept)),
        str(kept),
        f"{len(words)} of {len(reports)}",
        str(len(r)),
        str(sum(report.verified for report in words)),
        f"{median(r):.2f}" if r else "–",
        f"${spent:.2f}",
        f"${most:.2f}",
    )


def rows() -> Iterator[tuple[str, ...]]:
    """Make the rows of the table."""
    evidence = world(latents=N_FEATURES)
    with tempfile.TemporaryDirectory() as folder, serving(honest) as api:
        kept = Path(folder)
        yield row("answers, predicting from labels and sequences", api, evidence, kept)
        yield row("the same, asked a second time", api, evidence, kept)
    answers: list[tuple[str, Answer]] = [
        ("answers, predicting by a fixed pattern", guessing),
        ("is overloaded (529) at the first request of each second question",
         First((529, error("overloaded_error")))),
        ("cuts the first answer of each second question short",
         First((200, message('{"title": "x', "max_tokens")))),
        ("closes the connection in place of the first answer of each second question",
         First((LOST, {}))),
        ("refuses every question", refusing),
    ]  # fmt: skip
    for name, answer in answers:
        with tempfile.TemporaryDirectory() as folder, serving(answer) as api:
            yield row(name, api, evidence, Path(folder))
    with tempfile.TemporaryDirectory() as folder, serving(honest) as api:
        yield row("answers batches", api, evidence, Path(folder), batch=True)
    with tempfile.TemporaryDirectory() as folder, serving(honest) as api:
        killed_while_sending(api, Path(folder), latents=N_FEATURES)
        name = "had taken a batch when the run was killed; the next run finds it"
        yield row(name, api, evidence, Path(folder), batch=True)


def table() -> str:
    """Return the table in Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
