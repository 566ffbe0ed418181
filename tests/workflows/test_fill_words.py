"""What a fill says of the concepts that proposed nothing."""

from __future__ import annotations

from typing import Any

from plmsae.scoring.abstaining import NO_LATENT, UNMEASURED
from plmsae.workflows.fill import abstained_lines


def row(concept: str, withheld: int, low: float | None, reason: str = "too low") -> dict[str, Any]:
    return {"concept": concept, "reason": reason, "n_withheld": withheld, "precision_low": low}


def lines(*rows: dict[str, Any]) -> list[str]:
    return abstained_lines(list(rows), min_precision=0.8, missing_share=0.1)


def test_nothing_is_said_where_nothing_abstains() -> None:
    assert lines() == []


def test_the_option_to_change_comes_with_a_value_and_what_it_would_give() -> None:
    first, second = lines(
        row("Helix", 40, 0.3199),
        row("Domain", 3, 0.1),
        row("Signal peptide", 5, 0.25),
        row("Repeat", 900, 0.004_56),
        row("Motif", 0, 0.5),  # surer, but with nothing to propose
    )
    assert first.startswith("5 concepts abstain (948 calls withheld): where the table has no")
    assert "if 10% of the labels are missing (--missing-share;" in first
    assert "reach 80% (--min-precision)" in first
    assert "Helix 0.31, Signal peptide 0.25, Domain 0.1;" in second
    assert second.endswith("--min-precision 0.31 would propose 40 more")


def test_an_id_is_said_with_its_name() -> None:
    named = row("GO:0005634", 4, 0.25) | {"name": "nucleus"}
    assert (
        "it meets: GO:0005634 nucleus 0.25, Domain 0.1;" in lines(row("Domain", 1, 0.1), named)[1]
    )


def test_a_class_and_its_member_are_told_and_counted_once() -> None:
    found = lines(row("Transmembrane", 28, 0.21), row("Transmembrane: Helical", 28, 0.21))[1]
    assert "it meets: Transmembrane: Helical (and so Transmembrane) 0.21;" in found
    assert "--min-precision 0.21 would propose 28 more" in found
    # The class has calls that no member makes.
    found = lines(row("Domain", 30, 0.215), row("Domain: A", 9, 0.21), row("Domain: B", 8, 0.21))[1]
    assert "would propose 30 more" in found


def test_a_tiny_bound_is_not_rounded_away() -> None:
    assert "--min-precision 0.0045 would propose 9 more" in lines(row("Repeat", 9, 0.004_56))[1]


def test_what_no_option_helps_says_what_does() -> None:
    never, deaf, ruleless = lines(
        row("Site", 7, None, UNMEASURED),
        row("Zinc", 0, None, NO_LATENT),
        row("Domain", 0, None, "no rule reaches the precision on select proteins"),
    )
    assert never.startswith("1 concept abstains (7 calls withheld): no held-out call")
    assert "plmsae evaluate" in never
    assert deaf == "1 concept abstains: no latent detects it"
    # The model may well have a latent that detects it.
    assert ruleless == "1 concept abstains: no rule reaches the precision on select proteins"
