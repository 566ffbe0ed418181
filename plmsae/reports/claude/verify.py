"""Checking what a language model wrote against the evidence it was shown."""

from __future__ import annotations

import re

from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.proteins.uniprot import ACCESSION
from plmsae.reports.claude.answers import LONGEST, Description
from plmsae.reports.evidence import FeatureEvidence

_LETTERS = AMINO_ACIDS + "X"
_THREE = {
    "Ala": "A", "Arg": "R", "Asn": "N", "Asp": "D", "Cys": "C", "Gln": "Q", "Glu": "E", "Gly": "G",
    "His": "H", "Ile": "I", "Leu": "L", "Lys": "K", "Met": "M", "Phe": "F", "Pro": "P", "Ser": "S",
    "Thr": "T", "Trp": "W", "Tyr": "Y", "Val": "V",
}  # fmt: skip

_RESIDUE = re.compile(rf"\b(?:([{_LETTERS}])|({'|'.join(_THREE)})[- ]?)([1-9][0-9]{{0,4}})\b")
_QUOTED = re.compile(r"`([^`]+)`")


def unsupported(answer: Description, evidence: FeatureEvidence) -> tuple[str, ...]:
    """List what an answer says that the evidence does not.

    Returns
    -------
    tuple of str
        One reason for each name that is not in the evidence: a cited residue that no window shows
        there, a concept (the known one, or in backticks), anything of the shape of a UniProt
        accession, a residue in the text (C145, Cys145) that no window shows. Also a text far longer
        than asked for, and a description that cites nothing. Empty if all of it is supported; that
        means that the names are right, not that the biology is.
    """
    concepts = {score.concept for score in evidence.concepts}
    concepts |= {
        label.rsplit(" ", 1)[0] for example in evidence.examples for label in example.labels
    }
    concepts |= {other.concept for other in evidence.companions if other.concept}
    concepts |= {concept for protein in evidence.silent for concept in protein.concepts}
    terms = {term for example in evidence.examples for term in example.terms}
    accessions = {example.accession for example in evidence.examples}
    accessions |= {accession for level in evidence.levels for accession in level.accessions}
    accessions |= {protein.accession for protein in evidence.silent}
    shown = shown_residues(evidence)
    texts = {field: str(getattr(answer, field)) for field in LONGEST}
    text = " ".join([*texts.values(), *(citation.shows for citation in answer.citations)])

    reasons = [
        f"{field} is far longer than asked for"
        for field, limit in LONGEST.items()
        if len(texts[field]) > limit
    ]
    if not answer.citations:
        reasons.append("no evidence is cited")
    reasons += [
        f"{c.residue}{c.position} of {c.accession} is cited and not shown in the evidence"
        for c in answer.citations
        if (c.accession, c.residue, c.position) not in shown
    ]
    if answer.known_concept is not None and answer.known_concept not in concepts:
        reasons.append(f"concept {answer.known_concept} is not in the evidence")
    reasons += [
        f"protein {name} is not in the evidence"
        for name in ACCESSION.findall(text)
        if name not in accessions
    ]
    names = concepts | accessions | terms
    letters = {share.residue for share in evidence.residues}
    for quoted in _QUOTED.findall(text):
        if quoted not in names | letters and not _RESIDUE.fullmatch(quoted):
            reasons.append(f"{quoted} is not in the evidence")
    plain = text
    for name in sorted(names, key=len, reverse=True):
        plain = plain.replace(name, " ")  # a name may hold what looks like a residue: SH3, H3
    plain = ACCESSION.sub(" ", plain)  # P99999 is no proline
    plain = re.sub(r"\bF1\b", " ", plain)  # the score, not a phenylalanine
    residues = {(letter, position) for _, letter, position in shown}
    for one, three, position in _RESIDUE.findall(plain):
        letter = one or _THREE[three]
        if (letter, int(position)) not in residues:
            reasons.append(f"residue {letter}{position} is not shown in the evidence")
    return tuple(dict.fromkeys(reasons))


def shown_residues(evidence: FeatureEvidence) -> set[tuple[str, str, int]]:
    """Return accession, residue and position (1-based) of every residue in a window."""
    return {
        (example.accession, letter, example.window_start + i)
        for example in evidence.examples
        for i, letter in enumerate(example.window)
    }
