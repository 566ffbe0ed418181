"""What can be said of a feature from its evidence alone, without a language model."""

from __future__ import annotations

from plmsae.reports.evidence import FeatureEvidence


def title_of(evidence: FeatureEvidence) -> str:
    """Name a feature: by its concept if it detects one, else by residue and pattern."""
    if evidence.concepts and evidence.concepts[0].detected:
        return evidence.concepts[0].concept
    liked = [r.residue for r in evidence.residues if r.share >= 0.5]
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
            f"It is active on {_count(evidence.n_active, 'protein')} of {evidence.n_proteins:,} "
            "and detects none of the known concepts."
        )
    best = evidence.concepts[0]
    how_well = f"F1 {best.f1:.2f}"
    if best.precision is not None and best.recall is not None:
        how_well += f", precision {best.precision:.2f}, recall {best.recall:.2f}"
    verb = "detects" if best.detected else "is loosely tied to"
    chosen = "" if best.detected else f"; F1 {best.f1_select:.2f} on those it was chosen on"
    return f"It {verb} {best.concept} ({how_well} on proteins it was not chosen on{chosen})."


def description_of(evidence: FeatureEvidence) -> str:
    """Say in a paragraph where it fires, on what, and what else it is tied to."""
    if not evidence.n_active:
        return "Nothing more can be said of it."
    sentences = [
        f"It is active on {_count(evidence.n_active, 'protein')} of {evidence.n_proteins:,}, "
        f"{_pattern(evidence)}."
    ]
    liked = [r for r in evidence.residues if r.share >= 0.1][:3]
    if liked:
        shares = ", ".join(f"{r.residue} ({r.share:.0%}, {r.fold:.1f}× usual)" for r in liked)
        over = _count(evidence.n_peaks, "strong peak")
        sentences.append(f"Over its {over} the most common residues are {shares}.")
    strongest = evidence.examples[0]
    where = f"residue {strongest.peak} of {strongest.accession}"
    if strongest.labels_at_peak:
        where += f", within {strongest.labels_at_peak[0]}"
    sentences.append(f"It is strongest at {where}.")
    others = [f"{c.concept} ({c.f1:.2f})" for c in evidence.concepts[1:4]]
    if others:
        sentences.append(f"It is also tied to {', '.join(others)}, F1 in brackets.")
    return " ".join(sentences)


def _pattern(evidence: FeatureEvidence) -> str:
    run = f"{evidence.run_length:.0f} residue{'' if round(evidence.run_length) == 1 else 's'}"
    return {
        "point": "at single residues",
        "periodic": f"in runs of about {run} at regular distances",
        "whole protein": f"over most of the protein ({evidence.coverage:.0%} of it)",
    }.get(evidence.pattern, f"in runs of about {run}")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
