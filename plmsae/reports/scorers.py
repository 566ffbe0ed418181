"""The scores of held-back predictions as scorers for ``mlflow.genai.evaluate``.

A row of its data is one feature: ``inputs`` say which, ``outputs`` are ``{"activations":
{accession: predicted}, "cut": from which of them a protein is predicted to fire}``,
``expectations`` are ``{"activations": {accession: observed}, "roles": {accession: role}}``. Without
a cut it is 0.15, from which a protein counts as active. `evaluation_rows` makes such rows of
reports; with them anybody can score predictions of their own on the same proteins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plmsae.concepts.features.patterns import ACTIVE
from plmsae.reports.report import FeatureReport
from plmsae.reports.testing.scores import Prediction, detection_accuracy, pearson_r, ranked_right


def evaluation_rows(reports: Sequence[FeatureReport]) -> list[dict[str, Any]]:
    """Return one row for each tested report, for ``mlflow.genai.evaluate(data=…)``."""
    return [
        {
            "inputs": {"latent": report.evidence.latent, "claim": report.claim},
            "outputs": {
                "activations": {p.accession: p.predicted for p in test.predictions},
                "cut": test.cut,
            },
            "expectations": {
                "activations": {p.accession: p.observed for p in test.predictions},
                "roles": {p.accession: p.role for p in test.predictions},
            },
        }
        for report in reports
        if (test := report.test) is not None
    ]


def scorers() -> list[Any]:
    """Return the scorers ``activation_r``, ``detection_accuracy`` and ``above_relatives``."""
    from mlflow.genai.scorers import scorer

    measures: dict[str, Callable[[Sequence[Prediction], float], float | None]] = {
        "activation_r": _r,
        "detection_accuracy": detection_accuracy,
        "above_relatives": lambda predictions, _cut: ranked_right(predictions),
    }

    def made(name: str, measure: Callable[[Sequence[Prediction], float], float | None]) -> Any:
        def score(outputs: Any, expectations: Any) -> float | None:
            cut = float(outputs.get("cut", ACTIVE))
            return measure(_predictions(outputs, expectations), cut)

        return scorer(score, name=name)

    return [made(name, measure) for name, measure in measures.items()]


def _r(predictions: Sequence[Prediction], _cut: float) -> float:
    used = [p for p in predictions if p.role != "relative"]
    return pearson_r([p.predicted for p in used], [p.observed for p in used])


def _predictions(
    outputs: Mapping[str, Any], expectations: Mapping[str, Any]
) -> tuple[Prediction, ...]:
    """Join predictions with what was observed; a protein left out counts as predicted silent."""
    predicted = outputs["activations"]
    return tuple(
        Prediction(
            accession=accession,
            role=expectations["roles"][accession],
            observed=float(observed),
            predicted=float(predicted.get(accession, 0.0)),
        )
        for accession, observed in expectations["activations"].items()
    )
