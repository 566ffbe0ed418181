"""Putting a feature into words: by Claude where a key is set, from the evidence alone where not."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plmsae.core.errors import printable
from plmsae.reports.claude import (
    LlmSettings,
    UnavailableError,
    Usage,
    ask,
    llm_settings,
    make_client,
)
from plmsae.reports.evidence import FeatureEvidence
from plmsae.reports.prompt import request
from plmsae.reports.text_summary import description_of, summary_of, title_of
from plmsae.reports.verify import unsupported

if TYPE_CHECKING:
    import anthropic

    Client = anthropic.Anthropic | Literal["auto"] | None

EVIDENCE_ONLY = "evidence only"
"""Author of a text that no language model wrote."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FeatureReport:
    """A feature in words, with what the words rest on."""

    evidence: FeatureEvidence
    """What was measured."""
    title: str
    """A name for it."""
    summary: str
    """One sentence."""
    description: str
    """A paragraph."""
    author: str
    """The Claude model that wrote the words, or ``evidence only``."""
    confidence: Literal["high", "medium", "low"] | None
    """What Claude said of its own answer; None without it."""
    verified: bool
    """Whether every concept, protein and residue that the words name is in the evidence."""
    reasons: tuple[str, ...]
    """Why not, if not."""
    note: str
    """Why Claude did not write it although it was to; empty otherwise."""
    usage: Usage | None
    """What Claude's answer took."""

    def to_json(self) -> dict[str, Any]:
        """Everything, in types that JSON has."""
        return dataclasses.asdict(self)


def describe_all(
    evidence: Sequence[FeatureEvidence],
    *,
    client: Client = "auto",
    model: str | None = None,
    cache_dir: Path | None = None,
    jobs: int = 4,
    on_done: Callable[[FeatureReport], None] | None = None,
) -> list[FeatureReport]:
    """Put features into words, a few requests at a time.

    Parameters
    ----------
    evidence : sequence of FeatureEvidence
        What is known about each.
    client : anthropic.Anthropic, "auto" or None
        ``"auto"`` asks Claude if ``ANTHROPIC_API_KEY`` is set; None never does.
    model : str, optional
        A name from ``registry/llm.yaml``; its default if not given.
    cache_dir : Path, optional
        Where answers are kept.
    jobs : int
        Requests under way at once.
    on_done : callable, optional
        Called with each report, in order, for a progress bar.

    Returns
    -------
    list of FeatureReport
        In the order of `evidence`. If Claude cannot be reached or answers nothing usable, the words
        are made from the evidence and `note` says why: a report is never lost to a language model.

    Raises
    ------
    InputError
        If ``registry/llm.yaml`` does not name the model.
    """
    settings = llm_settings(model)
    asked = make_client(settings) if client == "auto" else client
    reports = []
    with ThreadPoolExecutor(max_workers=jobs if asked is not None else 1) as pool:
        for report in pool.map(lambda one: _describe(one, asked, settings, cache_dir), evidence):
            reports.append(report)
            if on_done is not None:
                on_done(report)
    _warn_of_notes(reports, settings.model)
    return reports


def _warn_of_notes(reports: Sequence[FeatureReport], model: str) -> None:
    """Say in one line how many features the model wrote nothing about, and the commonest reason."""
    notes = Counter(report.note for report in reports if report.note)
    if notes:
        (note, count), total = notes.most_common(1)[0], notes.total()
        of_them = "" if count == total else f" ({count} of them)"
        reason = note.removeprefix(f"{model} wrote nothing: ")
        logger.warning(
            "%s wrote nothing about %d of %d features, which are described from the evidence "
            "alone: %s%s",
            model,
            total,
            len(reports),
            reason,
            of_them,
        )


def _describe(
    evidence: FeatureEvidence,
    client: anthropic.Anthropic | None,
    settings: LlmSettings,
    cache_dir: Path | None,
) -> FeatureReport:
    if client is None:
        return _from_evidence(evidence, note="")
    arguments = request(evidence, model=settings.model, max_tokens=settings.max_tokens)
    try:
        answer, usage = ask(client, arguments, settings, cache_dir)
    except UnavailableError as error:
        return _from_evidence(evidence, note=f"{settings.model} wrote nothing: {error}")
    reasons = unsupported(answer, evidence)
    if reasons:
        logger.warning("feature %d: not in the evidence: %s", evidence.latent, "; ".join(reasons))
    return FeatureReport(
        evidence=evidence,
        title=printable(" ".join(answer["title"].split())),
        summary=printable(" ".join(answer["summary"].split())),
        description=printable(answer["description"].strip()),
        author=settings.model,
        confidence=answer["confidence"],
        verified=not reasons,
        reasons=reasons,
        note="",
        usage=usage,
    )


def _from_evidence(evidence: FeatureEvidence, *, note: str) -> FeatureReport:
    return FeatureReport(
        evidence=evidence,
        title=title_of(evidence),
        summary=summary_of(evidence),
        description=description_of(evidence),
        author=EVIDENCE_ONLY,
        confidence=None,
        verified=True,
        reasons=(),
        note=note,
        usage=None,
    )
