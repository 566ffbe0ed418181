"""What counts as known when labels of whole proteins are proposed, and which ontology it takes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from protein_world import OBO, write_obo
from scoring_fakes import FakeBundle, FakeEncoder, FakeMeta, concept_rows, encode_one

from plmsae.concepts.labels.label_holdout import hide_labels
from plmsae.core.errors import InputError
from plmsae.proteins.ontology import Ontology, read_obo
from plmsae.proteins.uniprot import read_table
from plmsae.scoring.backtest import HIDINGS, backtest
from plmsae.scoring.fill import FillResult, fill
from plmsae.scoring.folder import ScoreFolder
from plmsae.scoring.known import check_ontology, known_labels

DEEP, MIDDLE, BROAD, ROOT = "GO:0000011", "GO:0000010", "GO:0008152", "GO:0008150"
COLUMNS = ("Entry", "Organism", "Sequence", "Gene Ontology IDs", "EC number")


@pytest.fixture
def ontology(tmp_path: Path) -> Ontology:
    return read_obo(write_obo(tmp_path, OBO.replace("subset:", "alt_id: GO:0000099\nsubset:", 1)))


def write_table(path: Path, *rows: tuple[str, ...]) -> Path:
    path.write_text("".join("\t".join(row) + "\n" for row in (COLUMNS, *rows)))
    return path


def labels_of(tmp_path: Path, go: str, ontology: Ontology | None, ec: str = "") -> set[str]:
    path = write_table(tmp_path / "x.tsv", ("P1", "Yeast", "ACDEF", go, ec))
    labels = known_labels(read_table(path), "protein", ontology)
    assert set(labels.select("accession", "start", "end", "kind").rows()) == {("P1", 1, 5, "span")}
    assert labels.is_duplicated().sum() == 0
    return set(labels["concept"]) - {"Organism", "Organism: Yeast"}


def test_a_term_is_known_with_its_ancestors_over_is_a_and_part_of(
    tmp_path: Path, ontology: Ontology
) -> None:
    assert labels_of(tmp_path, DEEP, ontology) == {DEEP, MIDDLE, BROAD, ROOT}
    assert labels_of(tmp_path, MIDDLE, ontology) == {MIDDLE, BROAD, ROOT}
    assert labels_of(tmp_path, DEEP, None) == {DEEP}
    assert labels_of(tmp_path, "", ontology, "2.7.-.-") == {"EC:2", "EC:2.7"}


def test_a_listed_id_is_known_whatever_the_ontology_makes_of_it(
    tmp_path: Path, ontology: Ontology
) -> None:
    listed = {"GO:0000099", "GO:0000030", "GO:0999999"}  # an older name, given up, not in it
    assert labels_of(tmp_path, "; ".join(listed), ontology) == listed | {BROAD, ROOT}


def test_a_table_without_go_lacks_it_all_and_a_foreign_ontology_is_refused(
    tmp_path: Path, ontology: Ontology
) -> None:
    assert labels_of(tmp_path, "", ontology) == set()
    with pytest.raises(InputError, match="knows none of the 1 GO terms"):
        labels_of(tmp_path, "GO:0999999", ontology)


def bundle_of(*, extra: dict[str, Any] | None = None, placed: bool = True) -> FakeBundle:
    rows = concept_rows(
        (DEEP, "protein", "W", 0.9, 0.85),
        (MIDDLE, "protein", "W", 0.9, 0.85),
        (BROAD, "protein", "K", 0.9, 0.85),
        ("Organism: Yeast", "protein", "A", 0.9, 0.85),
        ("Organism: Man", "protein", "A", 0.9, 0.85),
        ("EC:1.1", "protein", "W", None, None),
    )
    space = ["biological_process" if placed else "go"] * 3 + ["organism"] * 2 + ["ec"]
    meta = FakeMeta(unit="protein", min_precision=0.3, extra=extra or {})
    return FakeBundle(meta=meta, concepts=rows.with_columns(namespace=pl.Series(space)))


@pytest.mark.parametrize("extra", [{}, {"ontology": "go.obo", "ontology_version": "v7"}])
def test_a_model_evaluated_with_an_ontology_asks_for_it(
    ontology: Ontology, extra: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with pytest.raises(InputError, match="--ontology") as caught:
        check_ontology(bundle_of(extra=extra), None)
    assert ("--ontology: go.obo (v7)" in str(caught.value)) == bool(extra)
    check_ontology(bundle_of(extra=extra), ontology)
    assert ("evaluated with go.obo (v7), the ontology given is of no" in caplog.text) == bool(extra)
    slim = Ontology([term for term in ontology if term.id != DEEP])
    with pytest.raises(InputError, match=f"lacks 1 of the 3 GO terms .* such as {DEEP}"):
        check_ontology(bundle_of(extra=extra), slim)


def test_who_needs_no_ontology_may_have_one_unless_it_is_of_residues(ontology: Ontology) -> None:
    for given in (None, ontology):
        check_ontology(bundle_of(placed=False), given)
    check_ontology(FakeBundle(), None)
    with pytest.raises(InputError, match="this one is of residues"):
        check_ontology(FakeBundle(), ontology)


N = 120
GO_OF = {"W": DEEP, "K": BROAD}


@pytest.fixture
def filled(tmp_path: Path, ontology: Ontology) -> FillResult:
    """Most proteins rich in W or K list their term, some beside what it implies."""
    rng = np.random.default_rng(3)
    rows = []
    for i in range(N):
        letter = "WKGAD"[i % 5]
        sequence = "".join(rng.permutation(list(letter * 12 + "CDEFHILMNPQRSTVY")))
        terms = [GO_OF[letter]] if letter in GO_OF and i % 4 else []
        terms += [MIDDLE] if i % 3 == 0 and letter != "K" else []  # listed beside its descendant
        rows.append((f"P{i:03d}", "Yeast" if i % 7 else "", sequence, "; ".join(terms), ""))
    return fill(
        write_table(tmp_path / "world.tsv", *rows),
        bundle_of(),
        tmp_path / "out",
        model_uri="fake/1",
        encoder=FakeEncoder(unit="protein"),
        ontology=ontology,
        part_residues=900,
    )


def called(filled: FillResult) -> set[tuple[str, str]]:
    """Who is called what, by the rule in one line: mean activation over the scale of 3."""
    found = set()
    for accession, sequence in filled.proteins.select("accession", "sequence").iter_rows():
        mean_F = encode_one(sequence, "protein").toarray()[0]
        for concept, latent in bundle_of().concepts.select("concept", "call_latent").iter_rows():
            if mean_F[latent] / 3 >= 0.15:
                found.add((accession, concept))
    return found


def test_what_is_proposed_is_what_is_called_and_neither_listed_nor_implied(
    filled: FillResult,
) -> None:
    proposals = filled.proposals()
    found = set(proposals.select("accession", "concept").iter_rows())
    known = set(filled.labels.select("accession", "concept").iter_rows())
    of_known_organism = {a for a, c in known if c == "Organism"}
    expected = {
        (a, c)
        for a, c in called(filled) - known
        if c != "EC:1.1" and not (c.startswith("Organism") and a in of_known_organism)
    }
    assert found == expected
    assert {DEEP, MIDDLE, BROAD, "Organism: Man"} <= {c for _, c in found}
    sequences = dict(filled.proteins.select("accession", "sequence").iter_rows())
    for row in proposals.iter_rows(named=True):
        assert (row["start"], row["end"]) == (1, len(sequences[row["accession"]]))
        assert row["sequence_stretch"] == sequences[row["accession"]]
        assert row["precision"] == pytest.approx(0.09 / (0.09 + 0.1))
        assert all((other, row["concept"]) in known for other in row["evidence"])
    assert proposals.filter(concept=DEEP)["evidence"].list.len().min() == 3


@pytest.mark.parametrize("seed", range(3))
def test_a_back_test_of_terms_counts_what_sets_count(filled: FillResult, seed: int) -> None:
    clusters = {f"P{i:03d}": i // 10 for i in range(N)}
    concepts, share = bundle_of().concepts, 0.3
    table = backtest(ScoreFolder(filled.path / "scores"), filled.labels, concepts, clusters,
                     hide_share=share, min_precision=0.3, seed=seed)  # fmt: skip
    truth = set(filled.labels.select("accession", "concept").iter_rows())
    checked = 0
    for hiding in HIDINGS:
        groups = clusters if hiding == "cluster" else None
        kept_table, _ = hide_labels(filled.labels, share, seed, groups)
        kept = set(kept_table.select("accession", "concept").iter_rows())
        hidden = truth - kept
        # Nothing that is left implies what is hidden: a protein keeps all of its terms, or none.
        for accession in {a for a, c in hidden if c.startswith("GO:")}:
            assert not {c for a, c in kept if a == accession and c.startswith("GO:")}
        for concept in (DEEP, MIDDLE, BROAD):
            of = [{a for a, c in rows if c == concept} for rows in (truth, kept, called(filled))]
            proposed = of[2] - of[1]
            missing = of[0] - of[1]
            row = table.filter(hiding=hiding, concept=concept).row(0, named=True)
            assert (row["hidden"], row["recovered"]) == (len(missing), len(missing & of[2]))
            assert (row["proposed"], row["correct"]) == (len(proposed), len(proposed & of[0]))
            checked += row["recovered"]
    assert checked > 10


def test_a_fill_refuses_to_go_without_its_ontology(filled: FillResult, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give it with --ontology"):
        fill(tmp_path / "world.tsv", bundle_of(), tmp_path / "new", model_uri="fake/1",
             encoder=FakeEncoder(unit="protein"))  # fmt: skip
    assert not (tmp_path / "new").exists()
