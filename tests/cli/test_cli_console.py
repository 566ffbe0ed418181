"""Progress: bars on a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io

import pytest

from plmsae.cli.console import open_console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(stream: io.StringIO, *, quiet: bool = False, every: float = 30.0) -> str:
    with open_console(quiet=quiet, stream=stream, every=every) as progress:
        with progress.task("reading [b]x[/b].fa") as task:
            for done in range(5):
                task.update(done, 4, f"{done} proteins/s")
        progress.say("kept [bold]line[/bold]")
    return stream.getvalue()


def test_without_a_terminal_a_task_is_two_lines() -> None:
    first, second, third = work(io.StringIO()).splitlines()
    assert first == "reading [b]x[/b].fa …"
    assert second.startswith("reading [b]x[/b].fa: done in ")
    assert second.endswith("(4 proteins/s)")
    assert third == "kept [bold]line[/bold]"


def test_a_long_task_tells_how_far_it_is() -> None:
    shown = work(io.StringIO(), every=0.0)
    assert "reading [b]x[/b].fa: 50 %, 2 proteins/s\n" in shown


def test_on_a_terminal_there_is_a_full_bar_and_names_are_no_markup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm")
    shown = work(Terminal())
    assert "reading [b]x[/b].fa" in shown
    assert "100%" in shown
    assert "4 proteins/s" in shown
    assert "kept [bold]line[/bold]" in shown


def test_quiet_shows_nothing() -> None:
    assert work(Terminal(), quiet=True) == ""


def test_a_task_that_fails_is_not_shown_as_done() -> None:
    stream = io.StringIO()
    with (
        pytest.raises(ValueError, match="stop"),
        open_console(stream=stream) as progress,
        progress.task("scoring"),
    ):
        raise ValueError("stop")
    assert stream.getvalue() == "scoring …\n"
    terminal = Terminal()
    with (
        pytest.raises(ValueError, match="stop"),
        open_console(stream=terminal) as progress,
        progress.task("scoring"),
    ):
        raise ValueError("stop")
    assert "100%" not in terminal.getvalue()


def test_tasks_may_be_nested() -> None:
    stream = io.StringIO()
    with (
        open_console(stream=stream) as progress,
        progress.task("all") as outer,
        progress.task("part") as inner,
    ):
        outer.update(0, None)
        inner.update(3, None, "")
    assert [line.split(":")[0] for line in stream.getvalue().splitlines()[2:]] == ["part", "all"]
