"""What the gate on evidence is told of collected evidence, and of evidence that is damaged."""

from __future__ import annotations

import dataclasses
from typing import Any

from held_out_world import world

from plmsae.reports.claude.answers import Citation
from plmsae.reports.describe import describe_all
from plmsae.reports.evidence_table import evidence_table
from plmsae.reports.report import FeatureReport

# Of the accessions A000 … A391 of the world, the first two digits are the family.
FAMILIES = {f"A{family:02d}{member}": family for family in range(40) for member in range(2)}


def reports() -> list[FeatureReport]:
    return describe_all(world(latents=2), client=None)


def row_of(report: FeatureReport) -> dict[str, Any]:
    of_first = FAMILIES[report.evidence.examples[0].accession]
    return evidence_table([report], FAMILIES | {"B1": of_first}).row(0, named=True)


def damaged(report: FeatureReport, **changes: Any) -> dict[str, Any]:
    evidence = dataclasses.replace(report.evidence, **changes)
    return row_of(dataclasses.replace(report, evidence=evidence))


def test_collected_evidence_keeps_its_sides_and_positions() -> None:
    found = reports()
    table = evidence_table(found, FAMILIES)
    assert table["latent"].to_list() == [r.evidence.latent for r in found]
    for row, report in zip(table.iter_rows(named=True), found, strict=True):
        assert row["n_shown"] == len(report.evidence.examples) > 3
        assert 3 < row["n_families"] <= row["n_shown"]
        assert row["n_held_out"] == len(report.evidence.held_out) > 0
        assert report.evidence.rule_test is not None
        assert report.evidence.rule_test.families == "other"
        for name in ("n_on_both_sides", "n_families_on_both_sides", "n_outside"):
            assert row[name] == 0
        assert row["n_unfound_citations"] == 0


def test_proteins_and_families_on_both_sides_are_counted() -> None:
    report = reports()[0]
    shown = report.evidence.examples[0]
    known = report.evidence.held_out
    again = (*known, dataclasses.replace(known[0], accession=shown.accession))
    row = damaged(report, held_out=again)
    assert (row["n_on_both_sides"], row["n_families_on_both_sides"]) == (1, 1)
    relative = dataclasses.replace(known[0], accession="B1")  # shown to nobody so far
    row = damaged(report, held_out=(*known, relative))
    assert (row["n_on_both_sides"], row["n_families_on_both_sides"]) == (0, 1)
    same = dataclasses.replace(report.evidence.rule_test, families="same")
    row = damaged(report, held_out=(*known, relative), rule_test=same)
    assert row["n_families_on_both_sides"] is None


def test_positions_outside_their_protein_are_counted() -> None:
    report = reports()[0]
    first, *others = report.evidence.examples
    for change, count in (
        ({"peak": 0}, 1),
        ({"active": ((1, first.length + 1),)}, 1),
        ({"window_start": first.length}, 1),
        ({"length": 1}, 3 + 2 * len(first.active)),
    ):
        examples = (dataclasses.replace(first, **change), *others)
        assert damaged(report, examples=examples)["n_outside"] == count
    held = report.evidence.held_out
    beyond = dataclasses.replace(held[0], peak=len(held[0].sequence) + 1)
    assert damaged(report, held_out=(beyond, *held[1:]))["n_outside"] == 1


def test_citations_that_the_evidence_does_not_hold_are_counted() -> None:
    report = reports()[0]
    shown = report.evidence.examples[0]
    letter = shown.window[0]
    cited = [
        Citation(accession=shown.accession, residue=letter, position=p, shows="the motif")
        for p in (shown.window_start, shown.window_start + 200)
    ]
    assert row_of(dataclasses.replace(report, citations=tuple(cited)))["n_unfound_citations"] == 1
