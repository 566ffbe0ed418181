"""Every sentence that is made from evidence, and how to tell from the tables that it is true.

Nothing here uses the evidence that the sentences were made from: what they say is worked out anew,
slowly, from activations, labels and the tables of the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

Dense = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What is true."""

    features: pl.DataFrame
    concepts: pl.DataFrame
    labels: pl.DataFrame
    """Of the proteins looked at."""
    sequences: Mapping[str, str]
    """By accession."""
    latents: Mapping[str, Dense]
    """Raw activations of each protein, (length, F)."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One feature: what its sentences must be true of."""

    tables: Tables
    latent: int
    held_back: frozenset[str]
    """Proteins that the sentences may not be about."""
    tests: Sequence[Mapping[str, Any]]
    """As ``report.json`` has them."""
    shown: frozenset[str]
    """Proteins that are shown with the residues around their peak."""

    @property
    def row(self) -> dict[str, Any]:
        return self.tables.features.row(by_predicate=pl.col("latent") == self.latent, named=True)

    @property
    def scaled(self) -> dict[str, Dense]:
        """Activations of the feature in each protein as shares of its maximum."""
        highest = np.float32(self.row["max_activation"])
        return {
            name: np.minimum(array[:, self.latent] / highest, np.float32(1))
            for name, array in self.tables.latents.items()
        }

    @property
    def n_active(self) -> int:
        return sum(bool((column >= np.float32(0.15)).any()) for column in self.scaled.values())

    @property
    def scores(self) -> list[tuple[str, float, float | None, float | None, float]]:
        """Concept, F1, precision, recall, F1 on select of the concepts tied to it, best first."""
        found = {}
        if self.row["concept"] is not None:
            names = ("concept", "f1", "precision", "recall", "f1_select")
            found[self.row["concept"]] = tuple(self.row[name] for name in names)
        mine = self.tables.concepts.filter(best_latent=self.latent)
        names = ("concept", "f1", "precision_residue", "recall", "f1_select")
        for row in mine.select(names).iter_rows():
            found.setdefault(row[0], row)
        # Of equal ones, a member of a class is the one to name.
        members_first = sorted(found.values(), key=lambda row: row[0], reverse=True)
        return sorted(
            members_first,
            key=lambda row: (min(row[1] or 0, row[4] or 0) <= 0.5, -round(row[1] or 0, 4)),
        )

    @property
    def threshold(self) -> float:
        """The threshold of the best concept."""
        concept = self.scores[0][0]
        if self.row["concept"] == concept:
            return float(self.row["threshold"])
        return float(
            self.tables.concepts.row(by_predicate=self._pair, named=True)["best_threshold"]
        )

    @property
    def _pair(self) -> pl.Expr:
        return (pl.col("concept") == self.scores[0][0]) & (pl.col("best_latent") == self.latent)

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """That of the F1 of the best concept: only its best latent has one, at one threshold."""
        rows = self.tables.concepts.filter(self._pair).to_dicts()
        if not rows or "f1_low" not in rows[0] or rows[0]["best_threshold"] != self.threshold:
            return None, None
        return rows[0]["f1_low"], rows[0]["f1_high"]

    def labelled(self, accession: str, position: int) -> bool:
        """Whether a residue (1-based) is in a label of the best concept."""
        return bool(
            self.tables.labels.filter(
                (pl.col("accession") == accession)
                & (pl.col("concept") == self.scores[0][0])
                & (pl.col("start") <= position)
                & (pl.col("end") >= position)
            ).height
        )

    @property
    def n_labelled(self) -> int:
        """Proteins looked at that are labelled with the best concept."""
        labelled = set(self.tables.labels.filter(concept=self.scores[0][0])["accession"])
        return len(labelled & set(self.tables.sequences))

    def examples_of_concept(self, accession: str) -> set[int]:
        """Positions around the peak in a label of the best concept, above its threshold."""
        column = self.scaled[accession]
        peak = int(column.argmax())
        return {
            i + 1
            for i in range(max(peak - 15, 0), min(peak + 16, len(column)))
            if round(float(column[i]), 3) > self.threshold and self.labelled(accession, i + 1)
        }

    @property
    def strong_peaks(self) -> list[str]:
        """The residue at the peak of each protein that reaches half of the maximum."""
        return [
            self.tables.sequences[name][int(column.argmax())]
            for name, column in self.scaled.items()
            if name not in self.held_back and column.max() >= 0.5
        ]

    @property
    def runs(self) -> list[list[tuple[int, int]]]:
        """Start and length of the runs of active residues of each protein that has any."""
        found = []
        for column in self.scaled.values():
            active, runs, start = column > np.float32(0.15), [], None
            for i, on in enumerate([*active, False]):
                if on and start is None:
                    start = i
                elif not on and start is not None:
                    runs.append((start, i - start))
                    start = None
            if runs:
                found.append(runs)
        return found


def check_silent(subject: Subject, _: re.Match[str]) -> None:
    assert subject.n_active == 0


def check_active_without_concept(subject: Subject, found: re.Match[str]) -> None:
    check_counts(subject, found)
    assert subject.scores == []


def check_counts(subject: Subject, found: re.Match[str]) -> None:
    assert number(found["n"]) == subject.n_active
    assert number(found["of"]) == len(subject.tables.latents)
    assert (found["noun"] == "protein") == (subject.n_active == 1)


def check_detects(subject: Subject, found: re.Match[str]) -> None:
    concept, f1, precision, recall, f1_select = subject.scores[0]
    of_concept = subject.tables.concepts.filter(concept=concept).to_dicts()
    low, high = subject.interval
    if low is None:
        assert found["low"] is None
    else:
        assert (number(found["low"]), number(found["high"])) == (near(low), near(high))
    if not of_concept or "n_instances" not in of_concept[0]:
        assert found["instances"] is None
    else:
        assert number(found["instances"]) == of_concept[0]["n_instances"]
        assert (found["noun"] == "instance") == (of_concept[0]["n_instances"] == 1)
    assert found["concept"] == concept
    assert number(found["f1"]) == near(f1)
    assert (found["verb"] == "detects") == (min(f1, f1_select) > 0.5)
    assert (found["select"] is None) == (found["verb"] == "detects")
    if found["select"] is not None:
        assert number(found["select"]) == near(f1_select)
    if found["precision"] is None:
        assert precision is None or recall is None
    else:
        assert number(found["precision"]) == near(precision)
        assert number(found["recall"]) == near(recall)


def check_pattern(subject: Subject, found: re.Match[str]) -> None:
    check_counts(subject, found)
    runs = subject.runs
    lengths = {name: len(s) for name, s in subject.tables.sequences.items()}
    with_runs = [n for n, c in subject.scaled.items() if (c > np.float32(0.15)).any()]
    longest = float(np.median([max(length for _, length in protein) for protein in runs]))
    covered = [
        sum(length for _, length in protein) / lengths[name]
        for name, protein in zip(with_runs, runs, strict=True)
    ]
    share = float(np.mean(covered))
    many = [protein for protein in runs if len(protein) >= 4]
    regular = sum(is_regular([start for start, _ in protein]) for protein in many)
    periodic = regular >= 0.5 * len(runs) and regular > 0.5 * len(many)
    how = found["how"]
    if share > 0.8:
        assert re.fullmatch(r"over most of the protein \((\d+)% of it\)", how)
        assert number(re.findall(r"\d+", how)[0]) == pytest.approx(100 * share, abs=0.51)
    elif longest <= 1 and not periodic:
        assert how == "at single residues"
    else:
        unit = "residue" if round(longest) == 1 else "residues"
        regularly = " at regular distances" if periodic else ""
        assert how == f"in runs of about {longest:.0f} {unit}{regularly}"


def is_regular(starts: Sequence[int]) -> bool:
    steps = np.diff(starts)
    middle = float(np.median(steps))
    return float(np.mean(np.abs(steps - middle) <= middle // 10)) >= 0.5


def check_residues(subject: Subject, found: re.Match[str]) -> None:
    peaks = subject.strong_peaks
    assert number(found["n"]) == len(peaks)
    assert (found["noun"] == "strong peak") == (len(peaks) == 1)
    total = "".join(subject.tables.sequences.values())
    named = re.findall(r"([A-Z]) \((\d+)%, ([\d.]+)× usual\)", found["residues"])
    assert len(named) == found["residues"].count("(")
    assert 1 <= len(named) <= 3
    for letter, share, fold in named:
        there = peaks.count(letter) / len(peaks)
        assert number(share) == pytest.approx(100 * there, abs=0.51)
        assert number(fold) == pytest.approx(there * len(total) / total.count(letter), abs=0.06)
    fewest = min(peaks.count(letter) for letter, _, _ in named)
    others = set(peaks) - {letter for letter, _, _ in named}
    assert all(peaks.count(letter) <= fewest for letter in others)


def check_strongest(subject: Subject, found: re.Match[str]) -> None:
    accession, position = found["accession"], int(found["position"])
    assert accession not in subject.held_back
    highest = max(column.max() for column in subject.scaled.values())
    assert subject.scaled[accession][position - 1] == highest
    assert number(found["share"]) == near(highest)
    here = set(
        subject.tables.labels.filter(
            (pl.col("accession") == accession)
            & (pl.col("start") <= position)
            & (pl.col("end") >= position)
        )
        .select("concept", "start", "end")
        .iter_rows()
    )
    if found["label"] is None:
        assert not here
    else:
        assert (found["label"], int(found["start"]), int(found["end"])) in here


def check_others(subject: Subject, found: re.Match[str]) -> None:
    expected = [f"{concept} ({f1:.2f})" for concept, f1, *_ in subject.scores[1:4]]
    assert found["others"] == ", ".join(expected)
    assert (found["verb"] == "comes") == (len(expected) == 1)


def check_none_labelled(subject: Subject, found: re.Match[str]) -> None:
    assert found["concept"] == subject.scores[0][0]
    assert number(found["of"]) == len(subject.tables.sequences)
    assert subject.n_labelled == 0


def check_none_above(subject: Subject, found: re.Match[str]) -> None:
    assert found["concept"] == subject.scores[0][0]
    assert number(found["threshold"]) == near(subject.threshold)
    assert number(found["n"]) == subject.n_labelled > 0
    assert number(found["of"]) == len(subject.tables.sequences)
    assert (found["noun"] == "protein") == (subject.n_labelled == 1)
    assert not any(subject.examples_of_concept(accession) for accession in subject.shown)


def check_citations(subject: Subject, report: Mapping[str, Any]) -> None:
    """Residues that are cited for a concept are examples of it, and nothing else."""
    for citation in report["citations"]:
        accession, position = citation["accession"], citation["position"]
        assert accession in subject.shown - subject.held_back
        assert subject.tables.sequences[accession][position - 1] == citation["residue"]
        column = subject.scaled[accession]
        # The evidence holds three digits, of which two are shown: 0.2953, 0.295, 0.29.
        shown = float(citation["shows"].split(" of the maximum")[0])
        assert shown == pytest.approx(float(column[position - 1]), abs=0.0056)
        if subject.scores:
            assert citation["shows"].endswith(f", in {subject.scores[0][0]}")
            assert position in subject.examples_of_concept(accession)
        else:
            assert column[position - 1] == column.max()
    missing = "is cited, because" in report["description"]
    assert missing == bool(subject.n_active and subject.scores and not report["citations"])


def check_title_of_concept(subject: Subject, found: re.Match[str]) -> None:
    assert found[0] == subject.scores[0][0]
    assert min(subject.scores[0][1], subject.scores[0][4]) > 0.5


def check_title_of_residue(subject: Subject, found: re.Match[str]) -> None:
    peaks = subject.strong_peaks
    assert len(peaks) >= 5
    assert peaks.count(found["letter"]) >= 0.5 * len(peaks)
    check_no_good_concept(subject)


def check_title_without(subject: Subject, _: re.Match[str]) -> None:
    peaks = subject.strong_peaks
    half = any(peaks.count(letter) > 0.501 * len(peaks) for letter in set(peaks))
    assert len(peaks) < 5 or not half
    check_no_good_concept(subject)


def check_no_good_concept(subject: Subject) -> None:
    assert not subject.scores or min(subject.scores[0][1], subject.scores[0][4]) <= 0.5001


def check_tested(subject: Subject, found: re.Match[str]) -> None:
    (test,) = subject.tests
    pairs = [
        (p["predicted"], p["observed"]) for p in test["predictions"] if p["role"] != "relative"
    ]
    for prediction in test["predictions"]:
        assert prediction["accession"] in subject.held_back
        peak = subject.scaled[prediction["accession"]].max()
        assert prediction["observed"] == pytest.approx(float(peak), abs=1e-4)
    predicted, observed = np.array(pairs).T
    r = 0.0
    if predicted.std() > 0 and observed.std() > 0:
        r = float(np.corrcoef(predicted, observed)[0, 1])
    assert number(found["r"]) == pytest.approx(r, abs=0.0051)
    active = [p["predicted"] for p in test["predictions"] if p["observed"] >= 0.15]
    silent = [p["predicted"] for p in test["predictions"] if p["role"] == "silent"]
    if found["detection"] == "not tested":
        assert not active or not silent
    else:
        right = [np.mean(np.array(active) >= test["cut"]), np.mean(np.array(silent) < test["cut"])]
        assert number(found["detection"]) == near(np.mean(right))
        assert test["detection_low"] <= np.mean(right) <= test["detection_high"]
    assert (found["bar"] is None) == (round(r, 4) >= 0.5)
    at_chance = test["detection_low"] is not None and test["detection_low"] <= 0.5
    assert (found["chance"] is None) != at_chance
    assert (found["how"] == "Verified") == (found["why"] is None)


def check_untested(subject: Subject, _: re.Match[str]) -> None:
    assert not subject.tests


def check_author(_: Subject, __: re.Match[str]) -> None:
    """Nobody but the code can have written it: the caller gives no client."""


Checker = Callable[[Subject, re.Match[str]], None]

_N_OF = r"It is active on (?P<n>[\d,]+) (?P<noun>proteins?) of (?P<of>[\d,]+)"
TITLES: list[tuple[str, Checker]] = [
    (
        r"(?:[\w-]+|(?:Short|Medium|Long) motif) feature on (?P<letter>[A-Z])",
        check_title_of_residue,
    ),
    (
        r"(?:[\w-]+|(?:Short|Medium|Long) motif) feature without a known concept",
        check_title_without,
    ),
    (r"(?!.* feature (?:on|without) ).+", check_title_of_concept),
]
CLAIMS: list[tuple[str, Checker]] = [
    (r"It is not active on any of the proteins looked at\.", check_silent),
    (rf"{_N_OF} and detects none of the known concepts\.", check_active_without_concept),
    (
        r"It (?P<verb>detects no known concept; the nearest is|detects) (?P<concept>.+?) "
        r"\(F1 (?P<f1>\d\.\d\d)"
        r"(?: \[(?P<low>\d\.\d\d), (?P<high>\d\.\d\d)\])?"
        r"(?:, precision (?P<precision>\d\.\d\d), recall (?P<recall>\d\.\d\d))? "
        r"on (?:(?P<instances>[\d,]+) labelled (?P<noun>instances?) in )?"
        r"proteins it was not chosen on"
        r"(?:; F1 (?P<select>\d\.\d\d) on those it was chosen on)?\)\.",
        check_detects,
    ),
]
DESCRIPTIONS: list[tuple[str, Checker]] = [
    (r"Nothing more can be said of it\.", check_silent),
    (rf"{_N_OF}, (?P<how>(?:at|in|over) .+)\.", check_pattern),
    (
        r"Over its (?P<n>[\d,]+) (?P<noun>strong peaks?) the most common residues are "
        r"(?P<residues>.+)\.",
        check_residues,
    ),
    (
        r"It reaches (?P<share>\d\.\d\d) of its maximum at residue (?P<position>\d+) of "
        r"(?P<accession>\w+)"
        r"(?:, within (?P<label>.+) (?P<start>\d+)\.\.(?P<end>\d+))?\.",
        check_strongest,
    ),
    (
        r"No example of (?P<concept>.+) is cited, because none of the (?P<of>[\d,]+) proteins "
        r"looked at is labelled with it\.",
        check_none_labelled,
    ),
    (
        r"No example of (?P<concept>.+) is cited, because on no label shown it is above the "
        r"threshold of (?P<threshold>\d\.\d\d) \((?P<n>[\d,]+) (?P<noun>proteins?) of "
        r"(?P<of>[\d,]+) (?:is|are) labelled with it\)\.",
        check_none_above,
    ),
    (r"Next (?P<verb>comes?) (?P<others>.+), F1 in brackets\.", check_others),
]
BYLINES: list[tuple[str, Checker]] = [
    (
        r"(?P<how>Verified|Unverified) \(r (?P<r>-?\d\.\d\d), detection "
        r"(?P<detection>not tested|\d\.\d\d)\)"
        r"(?P<why>: (?P<bar>r is under 0\.50)?(?:, )?"
        r"(?P<chance>detection is not above chance)?)?\.",
        check_tested,
    ),
    (r"Unverified: not tested\.", check_untested),
    (r"Written from evidence only\.", check_author),
]


def sentences(text: str) -> list[str]:
    """Split a text after each full stop that ends a sentence."""
    return re.split(r"(?<=\.) (?=[A-Z])", text)


def check_text(text: str, checkers: Sequence[tuple[str, Checker]], subject: Subject) -> list[str]:
    """Check every sentence by the one checker that knows its form; return the forms."""
    return [check_sentence(sentence, checkers, subject) for sentence in sentences(text)]


def check_sentence(sentence: str, checkers: Sequence[tuple[str, Checker]], subject: Subject) -> str:
    """Check one sentence by the one checker that knows its form; return the form."""
    matches = [(form, check, re.fullmatch(form, sentence)) for form, check in checkers]
    known = [(form, check, match) for form, check, match in matches if match]
    assert len(known) == 1, f"{len(known)} checkers know: {sentence}"
    form, check, match = known[0]
    check(subject, match)
    return form


def check_report(report: Mapping[str, Any], byline: str, tables: Tables) -> list[str]:
    """Check all that a report says, as ``report.json`` has it; return the forms met."""
    subject = Subject(
        tables=tables,
        latent=report["evidence"]["latent"],
        held_back=frozenset(p["accession"] for p in report["evidence"]["held_out"]),
        tests=report["tests"],
        shown=frozenset(e["accession"] for e in report["evidence"]["examples"]),
    )
    check_citations(subject, report)
    return [
        check_sentence(report["title"], TITLES, subject),
        *check_text(report["claim"], CLAIMS, subject),
        *check_text(report["description"], DESCRIPTIONS, subject),
        *check_text(byline, BYLINES, subject),
    ]


def number(text: str) -> float:
    return float(text.replace(",", ""))


def near(value: float | None) -> Any:
    """Compare with a number of two digits."""
    return pytest.approx(value, abs=0.0051)
