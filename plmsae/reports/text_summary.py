"""What can be said of a feature from its evidence alone, without a language model."""

from __future__ import annotations

from collections.abc import Sequence

from plmsae.core.words import counted
from plmsae.reports.claude.answers import Citation
from plmsae.reports.evidence import ConceptScore, FeatureEvidence, ProteinExample

MIN_PEAKS = 5
"""Strong peaks from which on the residue of half of them names a feature: of two, chance would."""


def title_of(evidence: FeatureEvidence) -> str:
    """Name a feature: by its concept if it detects one, else by residue and pattern."""
    if evidence.concepts and evidence.concepts[0].detected:
        return evidence.concepts[0].concept
    enough = evidence.n_peaks >= MIN_PEAKS
    liked = [r.residue for r in evidence.residues if r.share >= 0.5 and enough]
    shape = {"none": "Silent", "whole protein": "Whole-protein", "point": "Point"}.get(
        evidence.pattern, evidence.pattern.capitalize()
    )
    return f"{shape} feature on {liked[0]}" if liked else f"{shape} feature without a known concept"


def summary_of(evidence: FeatureEvidence) -> str:
    """Say in one sentence what it detects and how well."""
    if not evidence.n_active:
        return "It is not active on any of the proteins looked at."
    if not evidence.concepts:
        return (
            f"It is active on {counted(evidence.n_active, 'protein')} of {evidence.n_proteins:,} "
            "and detects none of the known concepts."
        )
    best = evidence.concepts[0]
    how_well = f"F1 {f1_of(best)}"
    if best.precision is not None and best.recall is not None:
        how_well += f", precision {best.precision:.2f}, recall {best.recall:.2f}"
    where = "on proteins it was not chosen on"
    if best.n_instances is not None:
        where = (
            f"on {counted(best.n_instances, 'labelled instance')} in proteins it was not chosen on"
        )
    what = "detects" if best.detected else "detects no known concept; the nearest is"
    chosen = "" if best.detected else f"; F1 {best.f1_select:.2f} on those it was chosen on"
    return f"It {what} {best.concept} ({how_well} {where}{chosen})."


def f1_of(score: ConceptScore) -> str:
    """Return an F1 with its interval where there is one."""
    interval = "" if score.f1_low is None else f" [{score.f1_low:.2f}, {score.f1_high:.2f}]"
    return f"{score.f1:.2f}{interval}"


def count_of(score: ConceptScore) -> str:
    """Return the number of labelled instances behind an F1."""
    return "–" if score.n_instances is None else f"{score.n_instances:,}"


def citations_of(evidence: FeatureEvidence) -> tuple[Citation, ...]:
    """Cite three residues for what `summary_of` says.

    For a concept, residues in a label of it on which the feature fires above the concept's
    threshold, and none if no protein shown has one; without a concept, the three highest peaks.
    """
    found = [_cited(example, evidence.concepts[:1]) for example in evidence.examples]
    return tuple(citation for citation in found if citation is not None)[:3]


def _cited(example: ProteinExample, best: Sequence[ConceptScore]) -> Citation | None:
    """Return the strongest residue of a window, of a concept the strongest in a label of it."""
    scored = list(enumerate(example.activations, start=example.window_start))
    where = ""
    for score in best:
        places = example.places_of(score.concept)
        scored = [
            (position, value)
            for position, value in scored
            if value > score.threshold and any(a <= position <= b for a, b in places)
        ]
        where = f", in {score.concept}"
    if not scored:
        return None
    position, value = max(scored, key=lambda entry: (entry[1], entry[0] == example.peak))
    return Citation(
        accession=example.accession,
        position=position,
        residue=example.window[position - example.window_start],
        shows=f"{value:.2f} of the maximum{where}",
    )


def _why_none_is_cited(evidence: FeatureEvidence) -> str:
    best = evidence.concepts[0]
    if best.n_labelled is None:
        why = "the labels of the proteins looked at are not known"
    elif not best.n_labelled:
        why = f"none of the {evidence.n_proteins:,} proteins looked at is labelled with it"
    else:
        labelled = "is labelled" if best.n_labelled == 1 else "are labelled"
        why = (
            f"on no label shown it is above the threshold of {best.threshold:.2f} "
            f"({counted(best.n_labelled, 'protein')} of {evidence.n_proteins:,} {labelled} with it)"
        )
    return f"No example of {best.concept} is cited, because {why}."


def description_of(evidence: FeatureEvidence) -> str:
    """Say in a paragraph where it fires, on what, and what else it is tied to."""
    if not evidence.n_active:
        return "Nothing more can be said of it."
    sentences = [
        f"It is active on {counted(evidence.n_active, 'protein')} of {evidence.n_proteins:,}, "
        f"{_pattern(evidence)}."
    ]
    liked = [r for r in evidence.residues if r.share >= 0.1][:3]
    if liked:
        shares = ", ".join(f"{r.residue} ({r.share:.0%}, {r.fold:.1f}× usual)" for r in liked)
        over = counted(evidence.n_peaks, "strong peak")
        sentences.append(f"Over its {over} the most common residues are {shares}.")
    strongest = evidence.examples[0]
    where = f"residue {strongest.peak} of {strongest.accession}"
    if strongest.labels_at_peak:
        where += f", within {strongest.labels_at_peak[0]}"
    sentences.append(f"It reaches {strongest.activation:.2f} of its maximum at {where}.")
    if evidence.concepts and not citations_of(evidence):
        sentences.append(_why_none_is_cited(evidence))
    others = [f"{c.concept} ({c.f1:.2f})" for c in evidence.concepts[1:4]]
    if others:
        come = "comes" if len(others) == 1 else "come"
        sentences.append(f"Next {come} {', '.join(others)}, F1 in brackets.")
    return " ".join(sentences)


def _pattern(evidence: FeatureEvidence) -> str:
    run = f"{evidence.run_length:.0f} residue{'' if round(evidence.run_length) == 1 else 's'}"
    return {
        "point": "at single residues",
        "periodic": f"in runs of about {run} at regular distances",
        "whole protein": f"over most of the protein ({evidence.coverage:.0%} of it)",
    }.get(evidence.pattern, f"in runs of about {run}")
