"""What a run did, in words: on its page in MLflow, and as one page among its artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from plmsae.core import markdown
from plmsae.core.errors import printable

if TYPE_CHECKING:
    from plmsae.tracking.runs import Run

NOTE = "mlflow.note.content"
"""Tag that MLflow shows as the description of a run, as Markdown."""
PAGE = "summary.html"
"""Name of the artifact."""

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color-scheme:light dark}"
    "th{text-align:left;vertical-align:top;padding-right:1.5rem}"
)


def log_summary(
    run: Run,
    title: str,
    about: str,
    table: Sequence[tuple[str, str]],
    lists: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Log a summary as the description of a run and as ``summary.html``.

    Parameters
    ----------
    title : str
        What was run.
    about : str
        A sentence or two: on what, and where the tables are.
    table : sequence of (str, str)
        What, and how much or where: the figures to see first.
    lists : mapping, optional
        Further lines by heading, on the page alone.
    """
    rows = [f"| {markdown.escape(name)} | {markdown.escape(value)} |" for name, value in table]
    note = [f"**{markdown.escape(title)}**", "", markdown.escape(about), "", "| | |"]
    run.set_tags({NOTE: "\n".join([*note, "| --- | --- |", *rows])})
    run.log_text(_page(title, about, table, lists or {}), PAGE)


def _page(
    title: str, about: str, table: Sequence[tuple[str, str]], lists: Mapping[str, Sequence[str]]
) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in table
    )
    more = "".join(
        f"<h2>{escape(heading)}</h2><ul>"
        + "".join(f"<li>{escape(line)}</li>" for line in lines)
        + "</ul>"
        for heading, lines in lists.items()
    )
    name = escape(printable(title))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{name}</h1><p>{escape(about)}</p>"
        f"<table>{rows}</table>{more}</body></html>"
    )
