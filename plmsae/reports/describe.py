"""Putting features into words, and testing the words.

Claude writes where a key is set; else the words are made from the evidence alone. Either way they
are tested on proteins that were held back.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from plmsae.core.errors import printable
from plmsae.reports.claude.answer_cache import AnswerCache
from plmsae.reports.claude.answers import Description, Predictions
from plmsae.reports.claude.asking import Asker, Outcome
from plmsae.reports.claude.budget import Budget
from plmsae.reports.claude.requests import (
    Given,
    Request,
    describe_request,
    names_of,
    predict_request,
)
from plmsae.reports.claude.settings import (
    LlmSettings,
    Usage,
    llm_settings,
    make_client,
    total_usage,
)
from plmsae.reports.claude.verify import unsupported
from plmsae.reports.evidence import FeatureEvidence
from plmsae.reports.report import EVIDENCE_ONLY, FeatureReport
from plmsae.reports.testing.scores import Prediction, PredictionTest, score_predictions
from plmsae.reports.text_summary import citations_of, description_of, summary_of, title_of

if TYPE_CHECKING:
    import anthropic

    Client = anthropic.Anthropic | Literal["auto"] | None

GIVEN: tuple[Given, ...] = ("metadata", "sequences")
"""What a description is tested with, each a question of its own."""

logger = logging.getLogger(__name__)


def describe_all(
    evidence: Sequence[FeatureEvidence],
    *,
    client: Client = "auto",
    settings: LlmSettings | None = None,
    cache_dir: Path | None = None,
    jobs: int = 4,
    batch: bool = False,
    max_usd: float | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[FeatureReport]:
    """Put features into words and test them: all descriptions first, then all predictions.

    Parameters
    ----------
    client : anthropic.Anthropic, "auto" or None
        ``"auto"`` asks Claude if ``ANTHROPIC_API_KEY`` is set; None never does.
    settings : LlmSettings, optional
        Of the model that is asked; those of the default one if not given.
    cache_dir : Path, optional
        Where answers are kept, and the ids of batches.
    jobs : int
        Questions under way at once.
    batch : bool
        Send the descriptions, then the predictions, as one Message Batch each.
    max_usd : float, optional
        Questions that could cost more than what is left of it are not asked.
    on_outcome : callable, optional
        Called with what became of each question, for progress and traces.

    Returns
    -------
    list of FeatureReport
        In the order of `evidence`. If Claude cannot be reached or answers nothing usable, the words
        are made from the evidence and `note` says why: a report is never lost to a language model.

    Raises
    ------
    InputError
        If ``registry/llm.yaml`` does not name the default model, or a batch has no `cache_dir`.
    """
    settings = settings or llm_settings()
    asked = make_client(settings) if client == "auto" else client
    if asked is None:
        return [_from_evidence(one, note="", usage=None) for one in evidence]
    asker = Asker(
        client=asked,
        settings=settings,
        cache=AnswerCache(folder=cache_dir),
        budget=Budget(max_usd=max_usd),
        jobs=jobs,
        batch=batch,
        on_outcome=on_outcome,
    )
    written = asker.ask([describe_request(one, settings) for one in evidence])
    tested = _tested(asker, evidence, written)
    reports = [
        _report(one, outcome, tests, settings.model)
        for one, outcome, tests in zip(evidence, written, tested, strict=True)
    ]
    _warn_of_notes(reports, settings.model)
    return reports


def predict_requests(
    evidence: FeatureEvidence, description: Description, settings: LlmSettings
) -> list[Request]:
    """Return the questions that test a description; none without proteins held back."""
    if not evidence.held_out:
        return []
    return [
        predict_request(evidence.latent, description, evidence.held_out, given, settings)
        for given in GIVEN
    ]


def _tested(
    asker: Asker, evidence: Sequence[FeatureEvidence], written: Sequence[Outcome]
) -> list[list[Outcome]]:
    """Ask for the predictions of all descriptions at once; return them for each feature."""
    questions = [
        predict_requests(one, outcome.answer, asker.settings)
        if isinstance(outcome.answer, Description)
        else []
        for one, outcome in zip(evidence, written, strict=True)
    ]
    outcomes = iter(asker.ask([request for group in questions for request in group]))
    return [[next(outcomes) for _ in group] for group in questions]


def _report(
    evidence: FeatureEvidence, written: Outcome, tested: Sequence[Outcome], model: str
) -> FeatureReport:
    usage = total_usage([written.usage, *(outcome.usage for outcome in tested)])
    answer = written.answer
    if not isinstance(answer, Description):
        return _from_evidence(
            evidence, note=f"{model} wrote nothing: {written.problem}", usage=usage
        )
    reasons = unsupported(answer, evidence)
    if reasons:
        logger.warning("feature %d: not in the evidence: %s", evidence.latent, "; ".join(reasons))
    tests = [] if evidence.rule_test is None else [evidence.rule_test]
    notes = []
    for given, outcome in zip(GIVEN, tested, strict=False):
        if isinstance(outcome.answer, Predictions):
            tests.append(_test(evidence, outcome.answer, model, given))
        else:
            notes.append(f"{model} predicted nothing from {given}: {outcome.problem}")
    return FeatureReport(
        evidence=evidence,
        title=printable(" ".join(answer.title.split())),
        claim=printable(" ".join(answer.claim.split())),
        description=printable(answer.description),
        activation_rule=printable(answer.activation_rule),
        citations=answer.citations,
        known_concept=answer.known_concept,
        author=model,
        confidence=answer.confidence,
        reasons=reasons,
        tests=tuple(tests),
        note="; ".join(notes),
        usage=usage,
    )


def _test(
    evidence: FeatureEvidence, answer: Predictions, model: str, given: Given
) -> PredictionTest:
    by_name = {entry.protein: entry.activation for entry in answer.predictions}
    names = names_of(evidence.latent, evidence.held_out)
    assert evidence.rule_test is not None  # noqa: S101 - made for all that have proteins held back
    return score_predictions(
        [
            Prediction(
                accession=protein.accession,
                role=protein.role,
                observed=protein.activation,
                predicted=by_name[name],
            )
            for protein, name in zip(evidence.held_out, names, strict=True)
        ],
        predictor=f"{model}, {given}",
        basis=f"the description and each protein's {given}",
        families=evidence.rule_test.families,
    )


def _from_evidence(evidence: FeatureEvidence, *, note: str, usage: Usage | None) -> FeatureReport:
    best = evidence.concepts[0] if evidence.concepts else None
    title = title_of(evidence)
    return FeatureReport(
        evidence=evidence,
        title=title,
        claim=summary_of(evidence),
        description=description_of(evidence),
        activation_rule="",
        citations=citations_of(evidence),
        known_concept=best.concept if best and best.concept == title else None,
        author=EVIDENCE_ONLY,
        confidence=None,
        reasons=(),
        tests=() if evidence.rule_test is None else (evidence.rule_test,),
        note=note,
        usage=usage,
    )


def _warn_of_notes(reports: Sequence[FeatureReport], model: str) -> None:
    """Say in one line how many features the model wrote nothing about, and the commonest reason."""
    notes = Counter(r.note for r in reports if r.author == EVIDENCE_ONLY and r.note)
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
