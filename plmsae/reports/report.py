"""A feature in words, with what the words rest on and how they fared when they were tested."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from plmsae.reports.claude.answers import Citation
from plmsae.reports.claude.settings import Usage
from plmsae.reports.evidence import FeatureEvidence
from plmsae.reports.testing.scores import BAR, PredictionTest

EVIDENCE_ONLY = "evidence only"
"""Author of a text that no language model wrote."""


@dataclass(frozen=True, kw_only=True)
class FeatureReport:
    """A feature in words."""

    evidence: FeatureEvidence
    """What was measured."""
    title: str
    """A name for it."""
    claim: str
    """One sentence: what it detects."""
    description: str
    activation_rule: str
    """In which proteins and at which residues it fires; empty without a language model."""
    citations: tuple[Citation, ...]
    """Residues that support it."""
    known_concept: str | None
    """The concept that explains it, or None."""
    author: str
    """The Claude model that wrote the words, or ``evidence only``."""
    confidence: Literal["high", "medium", "low"] | None
    """What Claude said of its own answer; None without it."""
    reasons: tuple[str, ...]
    """Names in the words that the evidence does not show."""
    tests: tuple[PredictionTest, ...]
    """Predictions of activations in proteins held back: by the best rule, and, of Claude's words,
    from metadata and from sequences."""
    note: str
    """What Claude was to do and did not do, and why; empty otherwise."""
    usage: Usage | None
    """What Claude's answers took."""

    @property
    def test(self) -> PredictionTest | None:
        """The test of these words; None if they were not tested.

        Of Claude's words the one from metadata, which is what InterPLM reports; of words from
        evidence alone that of the rule.
        """
        wanted = "rule" if self.author == EVIDENCE_ONLY else f"{self.author}, metadata"
        return next((test for test in self.tests if test.predictor == wanted), None)

    @property
    def verified(self) -> bool:
        """Whether every name is in the evidence and the words predict held-back activations.

        The rule is `plmsae.reports.testing.scores.VERIFIED`.
        """
        return not self.reasons and self.test is not None and self.test.holds

    @property
    def status(self) -> str:
        """Say in a few words whether the words hold, with the score."""
        test = self.test
        if test is None:
            return "unverified: not tested"
        detection = "not tested" if test.detection is None else f"{test.detection:.2f}"
        score = f"r {test.r:.2f}, detection {detection}"
        if self.reasons:
            return f"unverified ({score}): names that the evidence does not show"
        if test.holds:
            return f"verified ({score})"
        short = [f"r is under {BAR:.2f}"] if test.r < BAR else []
        short += [] if test.detects else ["detection is not above chance"]
        return f"unverified ({score}): {', '.join(short)}"

    def to_json(self) -> dict[str, Any]:
        """Everything, in types that JSON has."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return fields | {
            "evidence": self.evidence.to_json(),
            "citations": [citation.model_dump() for citation in self.citations],
            "reasons": list(self.reasons),
            "tests": [dataclasses.asdict(test) for test in self.tests],
            "usage": None if self.usage is None else dataclasses.asdict(self.usage),
            "verified": self.verified,
            "r": None if self.test is None else self.test.r,
        }


VERSION_METRICS = (
    *("report_n_features", "report_n_tested", "report_n_detection", "report_n_verified"),
    *("report_median_r", "report_median_r_rule", "report_median_detection"),
)
"""What of `report_metrics` is told of a model's version."""


def report_metrics(reports: Sequence[FeatureReport]) -> dict[str, float]:
    """Sum up reports in numbers, for the run and for the model's version.

    Returns
    -------
    dict of str to float
        ``report_n_features``, ``report_n_tested``, ``report_n_verified``; where any was tested
        ``report_median_r`` and ``report_median_detection`` of the tests of the words,
        ``report_n_detection`` (those that had silent proteins to test detection on),
        ``report_median_r_rule`` of the best rules; ``report_cost_usd``.
    """
    tests = [report.test for report in reports if report.test is not None]
    metrics = {
        "report_n_features": float(len(reports)),
        "report_n_tested": float(len(tests)),
        "report_n_detection": float(sum(test.detection is not None for test in tests)),
        "report_n_verified": float(sum(report.verified for report in reports)),
        "report_cost_usd": sum(report.usage.cost_usd for report in reports if report.usage),
    }
    rules = [t.r for report in reports for t in report.tests if t.predictor == "rule"]
    for name, values in (
        ("report_median_r", [test.r for test in tests]),
        ("report_median_r_rule", rules),
        ("report_median_detection", [t.detection for t in tests if t.detection is not None]),
    ):
        if values:
            metrics[name] = statistics.median(values)
    return metrics
