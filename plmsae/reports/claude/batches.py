"""Message Batches: many questions in one call, answered within a day at half the price.

A note with the questions is on the disk before a batch is sent, and with its id once that is known.
A run that was killed while it waited finds its batch again. One that was killed, or lost the
connection, between the two looks for it among the batches that the API lists: recent ones of as
many questions, whose results are of the same questions. The API tells whose results are only when a
batch has ended, so that a batch of another program of the same size may be waited for. Nothing is
sent or paid for twice, as long as the API lists what it has taken.
"""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from plmsae.core.atomic import write_json
from plmsae.reports.claude.answer_cache import digest_of
from plmsae.reports.claude.messages import Message, UnavailableError, paid, reached, taken
from plmsae.reports.claude.requests import Request
from plmsae.reports.claude.settings import LlmSettings

if TYPE_CHECKING:
    import anthropic

logger = logging.getLogger(__name__)

_SUFFIX = ".batch.json"
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")
_LOOKS = 3
_CLOCK_SKEW = timedelta(hours=1)
"""The clock of this machine may be ahead of the API's by so much."""


class _Note(NamedTuple):
    """What is kept on the disk of a batch."""

    id: str | None
    """None until the API has said it."""
    questions: list[str]
    """Digests; in the batch they are the ``custom_id`` of each question."""
    since: str = "1970-01-01T00:00:00+00:00"
    """When it was about to be sent, ISO 8601 in UTC; not in notes of older versions."""


def send_batch(client: anthropic.Anthropic, folder: Path, requests: Sequence[Request]) -> None:
    """Send questions as one batch and note it in `folder`.

    If the connection breaks before an answer, the note stays without an id; `collect_batches` then
    looks for the batch.

    Raises
    ------
    UnavailableError
        If the batch was not taken.
    """
    entries: Any = [{"custom_id": digest_of(r), "params": r.arguments} for r in requests]
    path = folder / f"{digest_of(requests[0])}{_SUFFIX}"
    questions = [digest_of(request) for request in requests]
    note = _Note(id=None, questions=questions, since=datetime.now(UTC).isoformat())
    write_json(path, note._asdict())
    try:
        batch = paid(client, lambda once: once.messages.batches.create(requests=entries))
    except UnavailableError as error:
        if not error.lost:
            path.unlink()
            raise
        logger.warning("no answer came to a batch (%s); looking whether it was taken", error)
        return
    name = str(getattr(batch, "id", ""))
    if not name:
        path.unlink()
        raise UnavailableError("the endpoint's answer is not a batch")
    write_json(path, note._replace(id=name)._asdict())
    logger.info("batch %s: %d questions sent", name, len(requests))


def collect_batches(
    client: anthropic.Anthropic, settings: LlmSettings, folder: Path, wanted: Sequence[Request]
) -> dict[str, Message | str]:
    """Wait for the batches noted in `folder` that hold any of the questions.

    Returns
    -------
    dict
        By the digest of a question, its message, or in words why there is none.

    Raises
    ------
    UnavailableError
        If the endpoint fails; the batches stay noted.
    """
    found: dict[str, Message | str] = {}
    for path, note in _noted(folder, {digest_of(request) for request in wanted}):
        try:
            if note.id is None:
                entries = _look_for(client, settings, folder, path, note)
            else:
                entries = _results(client, settings, note.id)
        except UnavailableError as error:
            if "HTTP 404" not in str(error):
                raise
            logger.warning("batch %s is not known any more; its questions are sent again", note.id)
            path.unlink()
            continue
        if entries is None:
            logger.warning(
                "a batch of %d questions was not taken; they are sent again", len(note.questions)
            )
            path.unlink()
            continue
        for entry in entries:
            found[str(entry.custom_id)] = _result(entry.result)
    return found


def _results(client: anthropic.Anthropic, settings: LlmSettings, name: str) -> list[Any]:
    """Wait for a batch and return its entries."""
    _wait(client, settings, name)
    entries: list[Any] = reached(lambda: list(client.messages.batches.results(name)))
    return entries


def _look_for(
    client: anthropic.Anthropic, settings: LlmSettings, folder: Path, path: Path, note: _Note
) -> list[Any] | None:
    """Find the batch of a note without an id; return its entries, or None if there is none.

    Those that have ended are looked at first; only then others are waited for.
    """
    foreign = {other.id for _, other in _noted(folder, None)}
    since = datetime.fromisoformat(note.since) - _CLOCK_SKEW
    for look in range(_LOOKS):
        if look:
            time.sleep(settings.poll_seconds)  # it may be listed a little after it was taken
        found = reached(lambda: _listed(client, since))
        recent = [
            batch
            for batch in found
            if batch.id not in foreign
            and sum(getattr(batch.request_counts, name) for name in _COUNTS) == len(note.questions)
        ]
        for batch in sorted(recent, key=lambda batch: bool(batch.processing_status != "ended")):
            logger.info("looking whether batch %s is ours", batch.id)
            try:
                entries = _results(client, settings, batch.id)
            except UnavailableError as error:
                if "HTTP 404" not in str(error):
                    raise
                entries = []  # its results are gone: they are kept for some weeks
            if {str(entry.custom_id) for entry in entries} == set(note.questions):
                write_json(path, note._replace(id=batch.id)._asdict())
                return entries
            foreign.add(batch.id)
    return None


def _listed(client: anthropic.Anthropic, since: datetime) -> list[Any]:
    """Return the batches made since then; the API lists the newest first."""
    pages = iter(client.messages.batches.list(limit=100))
    return list(itertools.takewhile(lambda batch: batch.created_at >= since, pages))


def forget_batches(folder: Path, wanted: Sequence[Request]) -> None:
    """Drop the notes of the batches that hold any of the questions: their answers are kept."""
    for path, _ in _noted(folder, {digest_of(request) for request in wanted}):
        path.unlink()


def _noted(folder: Path, digests: set[str] | None) -> Iterator[tuple[Path, _Note]]:
    """Return the notes that hold any of the questions; all of them without `digests`."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            note = _Note(**json.loads(path.read_text(encoding="utf-8")))
            if digests is None or digests & set(note.questions):
                yield path, note
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning("%s: not the note of a batch; left out", path)


def _wait(client: anthropic.Anthropic, settings: LlmSettings, name: str) -> None:
    while True:
        batch = reached(lambda: client.messages.batches.retrieve(name))
        status = getattr(batch, "processing_status", None)
        if status == "ended":
            return
        if status not in ("in_progress", "canceling"):
            raise UnavailableError("the endpoint's answer is not a batch")
        time.sleep(settings.poll_seconds)


def _result(result: Any) -> Message | str:
    if result.type == "succeeded":
        try:
            return taken(result.message)
        except UnavailableError as error:
            return str(error)
    kind = getattr(getattr(getattr(result, "error", None), "error", None), "type", None)
    return f"{result.type} in the batch{f' ({kind})' if kind else ''}"
