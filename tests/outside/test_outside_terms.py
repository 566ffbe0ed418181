"""Types, terms and files of exports against the ontologies and a validator that others wrote."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scoring"))
from scoring_fakes import LETTERS, FakeBundle, FakeEncoder, concept_rows, proteome, write_fasta

from plmsae.concepts.labels.names import CLASS_OF_KEY
from plmsae.proteins.uniprot import FEATURE_COLUMNS
from plmsae.scoring.engine import score
from plmsae.scoring.export import export
from plmsae.scoring.exporters.gff3 import SHOWN_LATENTS
from plmsae.scoring.exporters.uniprot import EVIDENCE
from plmsae.scoring.uniprot_names import _MEMBER_TERMS, SO_TERMS, known_column, so_term

HERE = Path(__file__).parent
TERMS = [*SO_TERMS.values(), *_MEMBER_TERMS.values()]


def ontology(name: str) -> dict[str, dict[str, str]]:
    frame = pl.read_csv(
        HERE / name, separator="\t", comment_prefix="#", infer_schema=False
    ).fill_null("")
    return {row["id"]: row for row in frame.iter_rows(named=True)}


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.id)
def test_every_type_is_a_live_term_of_the_sequence_ontology(term) -> None:
    found = ontology("sequence_ontology.tsv")[term.id]
    assert (found["name"], found["obsolete"]) == (term.name, "false")


def test_the_term_that_disulfide_bonds_had_is_obsolete() -> None:
    assert ontology("sequence_ontology.tsv")["SO:0001088"]["obsolete"] == "true"


def test_a_key_that_the_ontology_names_gets_its_term() -> None:
    by_key = {
        key: row["name"]
        for row in ontology("sequence_ontology.tsv").values()
        for key in row["uniprot_key"].split(",")
        if key
    }
    ours = {FEATURE_COLUMNS[column]: term.name for column, term in SO_TERMS.items()}
    assert {key: ours[key] for key in by_key} == by_key


def test_every_class_of_concepts_has_a_term() -> None:
    for kind in CLASS_OF_KEY.values():
        assert known_column(kind) in SO_TERMS, kind


def test_what_shares_a_type_is_told_apart_by_the_class_of_modification() -> None:
    terms = ontology("modifications_and_evidence.tsv")
    kinds = ("Disulfide bond", "Glycosylation", "Lipidation", "Cross-link")
    found = [so_term(kind) for kind in kinds]
    assert len({(term.name, term.modification) for term in found}) == len(kinds)
    names = [terms[term.modification]["name"] for term in found]
    assert names == [
        "disulfide crosslinked residues",
        "glycosylated residue",
        "lipoconjugated residue",
        "crosslinked residues",
    ]


def test_the_evidence_code_is_that_of_deep_learning() -> None:
    name = ontology("modifications_and_evidence.tsv")[EVIDENCE]["name"]
    assert name == "deep learning neural network method evidence used in automatic assertion"


def exported(folder: Path) -> Path:
    """One protein with a call of every class, in GFF3."""
    classes = [column.removesuffix(" [FT]") for column in SO_TERMS]
    rows = [
        (
            kind if n % 2 or ": " in kind else f"{kind}: it, 50% = a&b",
            "span",
            LETTERS[n % 20],
            0.9,
            0.8,
        )
        for n, kind in enumerate([*classes, *_MEMBER_TERMS, "Pfam: PF00069"])
    ]
    fasta = write_fasta(folder / "x.fasta", [*proteome(3, bad=False), ("odd>na me|1;é", LETTERS)])
    score(
        fasta,
        FakeBundle(concepts=concept_rows(*rows)),
        folder / "out",
        model_uri="fake/1",
        encoder=FakeEncoder(),
    )
    export(folder / "out", "gff3", folder / "x.gff3")
    return folder / "x.gff3"


def test_a_file_with_every_concept_passes_genometools(tmp_path: Path) -> None:
    gt = shutil.which("gt")
    if gt is None:
        pytest.skip("genometools (gt) is not installed")
    path = exported(tmp_path)
    types = {line.split("\t")[2] for line in path.read_text().splitlines() if "\t" in line}
    assert types == {term.name for term in TERMS}
    for check in ([], ["-typecheck", "so"]):
        done = subprocess.run(
            [gt, "gff3validator", *check, str(path)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout.strip()) == (0, "input is valid GFF3"), done.stderr


def test_a_line_names_few_latents_and_has_an_id_of_its_own(tmp_path: Path) -> None:
    ids = []
    for line in exported(tmp_path).read_text().splitlines():
        if "\t" in line:
            tags = dict(pair.split("=") for pair in line.split("\t")[8].split(";"))
            assert 1 <= len(tags["latents"].split(",")) <= SHOWN_LATENTS
            ids.append(tags["ID"])
    assert len(set(ids)) == len(ids)
