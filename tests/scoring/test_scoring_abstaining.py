"""What a score run says of each concept: its calls, or why there are none."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from scoring_fakes import (
    CONCEPTS,
    FakeBundle,
    FakeEncoder,
    concept_rows,
    proteome,
    table,
    write_fasta,
)

from plmsae.scoring.abstaining import IMPLIED, NO_LATENT, UNMEASURED, abstentions
from plmsae.scoring.engine import score
from plmsae.scoring.manifest import Manifest


def test_every_concept_is_called_or_abstains_with_its_reason() -> None:
    concepts = concept_rows(
        ("High", "span", "W", 0.9, 0.85),
        ("Low", "span", "K", 0.8, 0.654321),
        ("Never", "site", "H", None, None),
        ("Nothing", "site", "L", 0.9, 0.9),
        ("Tuned", "span", "E", 0.95, 0.9),
        ("Ruleless", "span", "M", None, None),  # a latent detects it, and no rule calls it
    ).with_columns(
        call_threshold=pl.when(pl.col("concept").is_in(["Nothing", "Ruleless"]))
        .then(None)
        .otherwise(0.15),
        abstains=pl.when(pl.col("concept").is_in(["Tuned", "Ruleless"])).then(
            pl.lit("no rule reaches it")
        ),
        abstains_at=pl.when(concept="Tuned").then(0.8),
    )
    assert abstentions(concepts, 0.8) == {
        "Low": "the interval of its precision begins at 0.654, 0.8 is asked for",
        "Never": UNMEASURED,
        "Nothing": NO_LATENT,
        "Ruleless": "no rule reaches it",
        "Tuned": "no rule reaches it",
    }
    # A lower precision asks more of them to speak.
    assert set(abstentions(concepts, 0.6)) == {"Never", "Nothing", "Ruleless"}


def test_a_class_whose_members_make_its_calls_is_not_counted_as_called() -> None:
    concepts = concept_rows(
        ("Class", "span", "W", 0.9, 0.85),
        ("Class: Member", "span", "W", 0.9, 0.85),
    ).with_columns(implied_at=pl.when(concept="Class").then(0.82))
    assert abstentions(concepts, 0.8) == {"Class": IMPLIED}
    assert abstentions(concepts, 0.84) == {}


def test_a_concept_with_two_callers_abstains_only_if_both_do() -> None:
    assert "Coiled coil" not in abstentions(CONCEPTS, 0.7)
    reason = abstentions(CONCEPTS, 0.9)["Coiled coil"]
    assert reason == "the interval of its precision begins at 0.85, 0.9 is asked for"


@pytest.mark.parametrize("part_residues", [400, 10**6])
def test_the_manifest_counts_calls_by_concept_and_names_what_abstained(
    part_residues: int, tmp_path: Path
) -> None:
    manifest = score(
        write_fasta(tmp_path / "p.fasta", proteome()),
        FakeBundle(),
        tmp_path / "out",
        model_uri="fake/1",
        encoder=FakeEncoder(),
        min_precision=0.7,
        part_residues=part_residues,
    )
    rows = table(tmp_path / "out", "annotations")["concept"].to_list()
    # A class is called in its members; so it may have no row of its own.
    expected = {name: rows.count(name) for name in ("Coiled coil", "Domain", "Domain: W-rich")}
    assert rows.count("Coiled coil") > 0
    assert dict(manifest.n_by_concept) == expected
    assert sum(expected.values()) == manifest.n_annotations
    assert dict(manifest.abstained) == {
        "Active site": UNMEASURED,
        "Binding site: ATP": "the interval of its precision begins at 0.5, 0.7 is asked for",
    }


def test_a_manifest_from_before_concepts_were_counted_still_opens(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "p.fasta", proteome())
    score(fasta, FakeBundle(), tmp_path / "out", model_uri="fake/1", encoder=FakeEncoder())
    path = tmp_path / "out" / "manifest.json"
    older = json.loads(path.read_text())
    del older["n_by_concept"], older["abstained"]
    path.write_text(json.dumps(older))
    assert dict(Manifest.read(path).n_by_concept) == {}
