"""Rendered reports: complete, escaped, self-contained."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from plmsae.core.errors import InputError
from plmsae.reports import drawing
from plmsae.reports.collecting import build_evidence
from plmsae.reports.describe import describe_all
from plmsae.reports.evidence import ProteinMetadata
from plmsae.reports.page import labels_in_window
from plmsae.reports.plots import plot_density_histogram, plot_f1_histogram
from plmsae.reports.render import render_reports
from plmsae.reports.report import FeatureReport

EVIL = '<script>alert("x")</script>|`[a](http://e.invalid)'


def some_reports(
    concept: str = "Motif: P-loop",
    description: str = "name",
    organism: str = "",
    terms: tuple[str, ...] = (),
) -> list[FeatureReport]:
    sequence = "MKTAYIAKQRGNSGVGKSCLLLRFSDDTYTNDWWWW"
    dense = np.zeros((len(sequence), 3), dtype=np.float32)
    dense[10:18, 0] = [2, 1, 1, 1, 1, 3, 4, 2]
    dense[3, 1] = 1.0
    features = pl.DataFrame(
        {
            "latent": [0, 1, 2],
            "density": [0.01, 0.2, 0.0],
            "max_activation": [4.0, 2.0, 1.0],
            "concept": [concept, None, None],
            "threshold": [0.15, None, None],
            "precision": [0.9, None, None],
            "recall": [0.8, None, None],
            "f1": [0.85, None, None],
            "f1_select": [0.85, None, None],
        }
    )
    concepts = features.filter(pl.col("concept").is_not_null()).select(
        "concept", "f1", "f1_select", best_latent="latent", best_threshold="threshold"
    )
    labels = pl.DataFrame({"accession": ["P1"], "start": [11], "end": [18], "concept": [concept]})
    about = ProteinMetadata(name=description, organism=organism, terms=terms)
    found = build_evidence(
        features, concepts, [csr_array(dense), csr_array(dense * 0)], ["P1", "P2"],
        [sequence, sequence], labels, latents_to_report=3, metadata={"P1": about, "P2": about},
    )  # fmt: skip
    return describe_all(found, client=None)


def rendered(folder: Path, reports: list[FeatureReport]) -> dict[str, Path]:
    return render_reports(reports, folder, about={"model": "plmsae.mini.L4.residue/3"})


class Collector(HTMLParser):
    """Tags that are open at the end, and ids and links seen."""

    void = frozenset({"meta", "rect", "line", "br", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(attrs)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag
        elif tag == "rect":
            pass

    def _note(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name == "href":
                self.links.append(str(value))


def test_the_page_is_whole_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    paths = rendered(tmp_path, some_reports())
    collector = Collector()
    collector.feed(paths["html"].read_text())
    assert collector.open == []
    assert collector.links == ["#feature-0", "#feature-1", "#feature-2"]
    assert [link[1:] for link in collector.links] == collector.ids[-3:]


def test_the_page_takes_nothing_from_outside(tmp_path: Path) -> None:
    text = rendered(tmp_path, some_reports())["html"].read_text()
    assert text.count("<script>") == text.count("<script") == 1  # it sorts and searches the index
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_names_from_outside_are_escaped_everywhere(tmp_path: Path) -> None:
    reports = some_reports(EVIL, EVIL, organism=EVIL, terms=(f"GO:{EVIL}",))
    reports[0] = dataclasses.replace(reports[0], title=EVIL, author="claude-x", reasons=(EVIL,))
    paths = rendered(tmp_path, reports)
    page = paths["html"].read_text()
    assert page.count("<script") == 1
    assert "&lt;script&gt;" in page
    collector = Collector()
    collector.feed(page)
    assert collector.open == []
    assert all(link.startswith("#feature-") for link in collector.links)
    text = paths["markdown"].read_text()
    assert "<script" not in text
    assert "](http" not in text
    rows = [line for line in text.splitlines() if line.startswith("| [0]")]
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 9


def test_all_three_say_who_wrote_what(tmp_path: Path) -> None:
    reports = some_reports()
    reports[1] = dataclasses.replace(
        reports[1], author="claude-x", reasons=("concept Q is not in the evidence",)
    )
    paths = rendered(tmp_path, reports)
    page, text = paths["html"].read_text(), paths["markdown"].read_text()
    stored = json.loads(paths["json"].read_text())
    said = "3 features: 2 described from the evidence alone, 1 described by claude-x."
    assert said in " ".join(page.split())
    assert said in text
    assert "Not in the evidence: concept Q is not in the evidence." in page
    assert "Not in the evidence: concept Q is not in the evidence." in text
    assert page.count(">unverified: not tested<") == 3
    assert stored["authors"] == {"evidence only": 2, "claude-x": 1}
    assert [entry["author"] for entry in stored["features"]] == [r.author for r in reports]
    assert stored["features"][0]["evidence"]["examples"][0]["accession"] == "P1"


def test_markdown_shows_active_residues_as_capitals(tmp_path: Path) -> None:
    text = rendered(tmp_path, some_reports())["markdown"].read_text()
    assert "`taiak" not in text
    assert "`ktayiakqrGNSGVGKSclllrfsddtytnd`" in text


NAMED = {
    "description": "GTPase HRas (EC 3.6.5.2) (H-Ras-1)",
    "organism": "Homo sapiens (Human)",
    "terms": ("EC:3", "GO:0000165", "GO:0003924", "GO:0005525", "GO:0005886", "Keyword: GTP"),
}


def test_names_organisms_and_go_terms_stand_in_the_tables(tmp_path: Path) -> None:
    paths = rendered(tmp_path, some_reports(**NAMED))
    text = paths["markdown"].read_text()
    (row, *_) = [line for line in text.splitlines() if line.startswith("| P1 ")]
    cells = [cell.strip() for cell in row.split(" | ")]
    go = "GO:0000165, GO:0003924, GO:0005525 and 1 more"
    assert cells[1:4] == ["GTPase HRas", "Homo sapiens", go]
    assert "Silent proteins: P2 \\(GTPase HRas, Homo sapiens\\)." in text
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", paths["html"].read_text()))
    assert f"P1 GTPase HRas Homo sapiens {go} 1.00" in page
    assert "P2 (GTPase HRas, Homo sapiens)." in page


def test_of_proteins_without_names_nothing_is_made_up(tmp_path: Path) -> None:
    paths = rendered(tmp_path, some_reports(description=""))
    (row, *_) = [
        line for line in paths["markdown"].read_text().splitlines() if line.startswith("| P1 ")
    ]
    assert row.split(" | ")[1:4] == ["–", "–", "–"]


def test_only_labels_that_reach_into_the_window_stand_beside_it(tmp_path: Path) -> None:
    reports = some_reports()
    example = dataclasses.replace(
        reports[0].evidence.examples[0],
        labels=(
            *("Domain 3..20", "Domain: SH3 3..20", "Domain 900..950", "Region 21..40"),
            "Repeat: WD 2..2",
        ),
    )
    assert (example.window_start, len(example.window)) == (2, 31)
    assert labels_in_window(example) == ["Domain: SH3 3..20", "Region 21..40", "Repeat: WD 2..2"]
    before = dataclasses.replace(example, labels=("Domain 1..1", "Domain 33..40"))
    assert labels_in_window(before) == []
    evidence = dataclasses.replace(reports[0].evidence, examples=(example,))
    paths = rendered(tmp_path, [dataclasses.replace(reports[0], evidence=evidence)])
    for name in ("html", "markdown"):
        assert "950" not in paths[name].read_text()


def test_no_feature_at_all_still_makes_a_page(tmp_path: Path) -> None:
    paths = rendered(tmp_path, [])
    assert "0 features" in paths["html"].read_text()


def test_rendering_twice_gives_the_same_files(tmp_path: Path) -> None:
    one, two = rendered(tmp_path / "a", some_reports()), rendered(tmp_path / "b", some_reports())
    for path in ("html", "markdown", "json"):
        assert one[path].read_bytes() == two[path].read_bytes()


def test_a_logo_column_is_as_high_as_its_information() -> None:
    ((sure,), bits) = drawing.logo([{"K": 1.0}], 10_000)
    assert bits == pytest.approx(math.log2(20), rel=0.01)
    assert sure.scale == pytest.approx(drawing.LOGO_HEIGHT / 7.3, rel=0.01)
    assert sure.kind == "positive"
    assert drawing.logo([dict.fromkeys("ACDEFGHIKLMNPQRSTVWY", 0.05)], 10_000).letters == []
    assert drawing.logo([{"K": 1.0}], 2) == ([], 0.0)  # two sequences say nothing
    (low, high), _ = drawing.logo([{"K": 0.75, "R": 0.25}], 10_000)
    assert (low.letter, high.letter) == ("R", "K")
    assert high.scale == pytest.approx(3 * low.scale, rel=0.01)
    assert low.y > high.y
    half = dict.fromkeys("AVLIMFWCGT", 0.1)  # one bit, which fills the picture
    letters, bits = drawing.logo([half], 1_000_000)
    assert bits == pytest.approx(1.0, rel=0.01)
    assert 7.3 * sum(letter.scale for letter in letters) == pytest.approx(96, rel=0.01)


def test_windows_near_the_start_are_indented_so_that_peaks_line_up() -> None:
    (first, second, _) = some_reports()
    for report in (first, second):
        example = report.evidence.examples[0]
        place = drawing.indent(example) + [c.peak for c in drawing.cells(example)].index(True)
        assert place == 15


def test_figures_are_png_and_the_same_each_time(tmp_path: Path) -> None:
    features = pl.DataFrame(
        {"f1": [0.1, None, 0.9, float("nan")], "density": [0.1, 0.0, 1e-9, 0.5]}
    )
    for i in range(2):
        plot_f1_histogram(features, tmp_path / f"f1-{i}.png")
        plot_density_histogram(features, tmp_path / f"density-{i}.png")
    assert len(list(tmp_path.iterdir())) == 4
    for name in ("f1", "density"):
        data = (tmp_path / f"{name}-0.png").read_bytes()
        assert data.startswith(b"\x89PNG")
        assert data == (tmp_path / f"{name}-1.png").read_bytes()


def test_figures_of_nothing_are_drawn_and_of_the_wrong_table_refused(tmp_path: Path) -> None:
    empty = pl.DataFrame(schema={"f1": pl.Float64, "density": pl.Float64, "dead": pl.Boolean})
    plot_f1_histogram(empty, tmp_path / "a.png")
    plot_density_histogram(empty, tmp_path / "b.png")
    with pytest.raises(InputError, match="lacks a column"):
        plot_f1_histogram(empty.drop("f1"), tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()


def test_each_feature_has_pages_of_its_own(tmp_path: Path) -> None:
    rendered(tmp_path, some_reports())
    names = {path.name for path in (tmp_path / "features").iterdir()}
    assert names == {f"{i}.{suffix}" for i in range(3) for suffix in ("html", "md", "json")}
    collector = Collector()
    page = (tmp_path / "features" / "1.html").read_text()
    collector.feed(page)
    assert collector.open == []
    assert collector.ids == ["feature-1"]
    assert "<script" not in page
