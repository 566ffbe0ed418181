"""Checking what a language model wrote against the evidence it was shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from plmsae.reports.evidence import FeatureEvidence

_LETTERS = "ACDEFGHIKLMNPQRSTVWYX"
_THREE = {
    "Ala": "A", "Arg": "R", "Asn": "N", "Asp": "D", "Cys": "C", "Gln": "Q", "Glu": "E", "Gly": "G",
    "His": "H", "Ile": "I", "Leu": "L", "Lys": "K", "Met": "M", "Phe": "F", "Pro": "P", "Ser": "S",
    "Thr": "T", "Trp": "W", "Tyr": "Y", "Val": "V",
}  # fmt: skip

# https://www.uniprot.org/help/accession_numbers describes the two forms.
_ACCESSION = re.compile(
    r"\b(?:[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})\b"
)
_RESIDUE = re.compile(rf"\b(?:([{_LETTERS}])|({'|'.join(_THREE)})[- ]?)([1-9][0-9]{{0,4}})\b")
_QUOTED = re.compile(r"`([^`]+)`")
_LIMITS = {"title": 120, "summary": 600, "description": 2000}


def unsupported(answer: Mapping[str, Any], evidence: FeatureEvidence) -> tuple[str, ...]:
    """List what an answer says that the evidence does not.

    Parameters
    ----------
    answer : mapping
        As `plmsae.reports.prompt.parse` gives it.
    evidence : FeatureEvidence
        What the model was shown.

    Returns
    -------
    tuple of str
        One reason for each name that is not in the evidence: a concept (listed, or in backticks),
        an accession (listed, or anything of the shape of a UniProt accession), a residue (C145,
        Cys145) that no window shows there, a preferred amino acid that is not among the peaks. Also
        a text far longer than asked for. Empty if all of it is supported; that means that the
        names are right, not that the biology is.
    """
    concepts = {score.concept for score in evidence.concepts}
    concepts |= {
        label.rsplit(" ", 1)[0] for example in evidence.examples for label in example.labels
    }
    accessions = {example.accession for example in evidence.examples}
    accessions |= {accession for level in evidence.levels for accession in level.accessions}
    residues = _shown_residues(evidence)
    preferred = {share.residue for share in evidence.residues}
    text = " ".join(str(answer[field]) for field in _LIMITS)

    reasons = [
        f"{field} is far longer than asked for"
        for field, limit in _LIMITS.items()
        if len(str(answer[field])) > limit
    ]
    named = [str(name) for name in answer["accessions"]] + _ACCESSION.findall(text)
    reasons += [
        f"protein {name} is not in the evidence" for name in named if name not in accessions
    ]
    reasons += [
        f"concept {name} is not in the evidence"
        for name in answer["concepts"]
        if name not in concepts
    ]
    reasons += [
        f"preferred residue {name} is not among the peaks"
        for name in answer["residues"]
        if name not in preferred
    ]
    for quoted in _QUOTED.findall(text):
        known = quoted in concepts or quoted in accessions or quoted in preferred
        if not known and not _RESIDUE.fullmatch(quoted):
            reasons.append(f"{quoted} is not in the evidence")
    plain = text
    for name in sorted(concepts | accessions, key=len, reverse=True):
        plain = plain.replace(name, " ")  # a name may hold what looks like a residue: SH3, H3
    plain = re.sub(r"\bF1\b", " ", plain)  # the score, not a phenylalanine
    for one, three, position in _RESIDUE.findall(plain):
        letter = one or _THREE[three]
        if (letter, int(position)) not in residues:
            reasons.append(f"residue {letter}{position} is not shown in the evidence")
    return tuple(dict.fromkeys(reasons))


def _shown_residues(evidence: FeatureEvidence) -> set[tuple[str, int]]:
    return {
        (letter, example.window_start + i)
        for example in evidence.examples
        for i, letter in enumerate(example.window)
    }
