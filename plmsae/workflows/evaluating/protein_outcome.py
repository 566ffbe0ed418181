"""What an evaluation of a protein-level SAE found, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plmsae.concepts.enrichment.term_confirmation import FDR
from plmsae.concepts.enrichment.term_shares import ALL_GO
from plmsae.concepts.labels.names import named
from plmsae.workflows.evaluating.outcome import EvaluateOutcome

SAE = "sae"


@dataclass(frozen=True, kw_only=True)
class EvaluateProteinsOutcome(EvaluateOutcome):
    """What the latents of a protein-level SAE mean.

    In `baselines`, one row per method: ``method``, ``n_units``, ``n_live``, ``n_tied`` and
    ``share`` of these, ``n_tied_go``, ``n_tied_3_families`` (a term shown by three families or
    more), ``n_terms``, ``n_pairs``, ``n_chosen``, ``median_information`` (bits of the best term),
    and, where measured, ``n_features`` and ``n_concepts`` (single-unit detectors at F1 > 0.5).
    """

    level: float
    """Share of a latent's maximum above which a protein activates it."""
    notes: tuple[str, ...]
    """What was done to the terms."""
    n_tests: tuple[int, int]
    """Terms tested, and pairs that went on to the report proteins."""
    depths: list[dict[str, Any]]
    """Share of live latents tied to a term: ``method``, ``namespace``, ``depth``, ``share``, …"""
    classes: list[dict[str, Any]]
    """Share by broad process, family and enzyme class: ``kind``, ``name``, ``share``, …"""
    top_terms: list[dict[str, Any]]
    """Terms, each with its latent of the lowest p value, lowest first."""

    def lines(self) -> list[str]:
        """Return it in words."""
        own = self.baselines[0]
        lines = [
            f"{own['n_tied']:,} of {own['n_live']:,} live latents ({own['share']:.0%}) tied to a "
            f"term on both splits, to {own['n_terms']:,} terms in all ({self.how})",
            f"  a protein is active above {self.level:g} of a latent's maximum; {self.n_tests[0]:,}"
            f" terms tested, {self.n_tests[1]:,} pairs chosen, FDR {FDR:.0%} on either split",
            *(f"  {note}" for note in self.notes),
            f"  {'method':<22}{'live':>7}{'tied':>7}{'share':>8}{'3 families':>12}{'terms':>7}"
            f"{'bits':>6}{'F1>0.5':>8}",
        ]
        lines += [_method_line(row) for row in self.baselines]
        lines += self._depth_lines()
        if self.top_terms:
            lines.append("terms with the lowest p values (on the proteins reported on):")
        lines += [_term_line(row) for row in self.top_terms[:10]]
        for kind, title in (("process", "processes"), ("family", "families"), ("enzyme", "EC")):
            rows = [row for row in self.classes if row["kind"] == kind][:5]
            if rows:
                shown = ", ".join(
                    f"{row['name'] or row['concept']} {row['share']:.0%}" for row in rows
                )
                lines.append(f"{title} of most latents: {shown}")
        return lines + self.closing_lines("term")

    def _depth_lines(self) -> list[str]:
        go = [row for row in self.depths if row["namespace"] == ALL_GO]
        depths = sorted({row["depth"] for row in go})
        if not depths:
            return []
        lines = ["  GO terms, by depth      " + "".join(f"{depth:>7}" for depth in depths)]
        for method in dict.fromkeys(row["method"] for row in self.baselines):
            share = {row["depth"]: row["share"] for row in go if row["method"] == method}
            cells = "".join(f"{share.get(depth, 0.0):>7.1%}" for depth in depths)
            lines.append(f"  {method:<24}{cells}")
        return lines


def _method_line(row: dict[str, Any]) -> str:
    found = "" if row.get("n_concepts") is None else f"{row['n_concepts']:>8,}"
    return (
        f"  {row['method']:<22}{row['n_live']:>7,}{row['n_tied']:>7,}{row['share']:>8.1%}"
        f"{row['n_tied_3_families']:>12,}{row['n_terms']:>7,}{row['median_information']:>6.1f}{found}"
    )


def _term_line(row: dict[str, Any]) -> str:
    depth = "" if row["depth"] is None else f"  depth {row['depth']}"
    return (
        f"  {named(row):<44.44} latent {row['latent']:<6} {row['fold']:>5.1f}-fold"
        f"  q {row['q']:.0e}  {row['information']:.1f} bits{depth}  {row['n_clusters']} families"
    )
