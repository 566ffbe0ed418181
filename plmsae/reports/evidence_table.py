"""The evidence of feature reports as a table, for the quality gate: one row for each feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from plmsae.reports.claude.verify import shown_residues
from plmsae.reports.evidence import FeatureEvidence, ProteinExample
from plmsae.reports.report import FeatureReport


def evidence_table(reports: Sequence[FeatureReport], families: Mapping[str, int]) -> pl.DataFrame:
    """Count what the suite ``evidence`` looks at.

    Parameters
    ----------
    families : mapping of str to int
        Homology cluster of each protein, by accession.

    Returns
    -------
    polars.DataFrame
        ``latent``, ``n_shown`` (proteins on which it fires), ``n_families`` (of these),
        ``n_held_out``, ``n_on_both_sides`` (proteins shown and held back),
        ``n_families_on_both_sides`` (null where the test is not said to be on other families),
        ``n_outside`` (positions outside their protein), ``n_unfound_citations``.
    """
    rows = [_row(report, families) for report in reports]
    names = (
        *("latent", "n_shown", "n_families", "n_held_out", "n_on_both_sides"),
        *("n_families_on_both_sides", "n_outside", "n_unfound_citations"),
    )
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Int64))


def _row(report: FeatureReport, families: Mapping[str, int]) -> dict[str, int | None]:
    evidence = report.evidence
    active = {example.accession for example in evidence.examples}
    described = active | {protein.accession for protein in evidence.silent}
    named = described | {name for level in evidence.levels for name in level.accessions}
    held_out = {protein.accession for protein in evidence.held_out}
    test = evidence.rule_test
    of_both = None
    if test is not None and test.families == "other":
        # Of a protein that is only named in the list of levels nothing else is shown.
        of_both = len({families[a] for a in described} & {families[a] for a in held_out})
    shown = shown_residues(evidence)
    return {
        "latent": evidence.latent,
        "n_shown": len(evidence.examples),
        "n_families": len({families[accession] for accession in active}),
        "n_held_out": len(held_out),
        "n_on_both_sides": len(named & held_out),
        "n_families_on_both_sides": of_both,
        "n_outside": _outside(evidence),
        "n_unfound_citations": sum(
            (c.accession, c.residue, c.position) not in shown for c in report.citations
        ),
    }


def _outside(evidence: FeatureEvidence) -> int:
    """Count the positions that lie outside their protein."""
    of_examples = sum(
        not 1 <= position <= example.length
        for example in evidence.examples
        for position in _positions(example)
    )
    # 0 stands for no peak.
    return of_examples + sum(
        not 0 <= protein.peak <= len(protein.sequence) for protein in evidence.held_out
    )


def _positions(example: ProteinExample) -> list[int]:
    last = example.window_start + len(example.window) - 1
    ends = [position for run in example.active for position in run]
    return [example.peak, example.window_start, last, *ends]
