from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_fakes import FakeBundle, FakeEncoder, concept_rows, proteome, table, write_fasta

from plmsae.concepts.labels.label_table import read_labels
from plmsae.core.errors import InputError
from plmsae.proteins.uniprot import FEATURE_COLUMNS, parse_features
from plmsae.scoring.engine import score
from plmsae.scoring.export import export
from plmsae.scoring.exporters.gff3 import _gff3_escape, _gff3_seqid, _precision_in_words
from plmsae.scoring.uniprot_names import SO_TERMS, as_feature, column_of, split_concept

NASTY = concept_rows(
    ("Domain: W, rich; 50% = a&b", "span", "W", 0.95, 0.9),
    ('Binding site: poly(A) "x"', "site", "K", 0.6, 0.5),
    ("Active site", "site", "H", None, None),
    ("Pfam: PF00069", "span", "L", 0.9, 0.85),
    ("Cofactor: Zn(2+)", "site", "C", 0.9, 0.85),
)


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    fasta = write_fasta(tmp_path / "x.fasta", [*proteome(), ("odd>name|1", "WAK"), ("EMPTY", "A")])
    score(
        fasta,
        FakeBundle(concepts=NASTY),
        tmp_path / "out",
        model_uri="fake/1",
        encoder=FakeEncoder(),
        part_residues=500,
    )
    return tmp_path / "out"


def text(scored: Path, tmp_path: Path, form: str) -> list[str]:
    target = tmp_path / f"x.{form}"
    assert export(scored, form, target) == table(scored, "annotations").height
    return target.read_text().splitlines()


def test_gff3_says_the_same_as_the_annotations(scored: Path, tmp_path: Path) -> None:
    lines = text(scored, tmp_path, "gff3")
    assert lines[0] == "##gff-version 3"
    found, regions, ids = [], {}, []
    for line in lines[1:]:
        if line.startswith("##sequence-region "):
            _, seqid, start, end = line.split(" ")
            assert start == "1"
            regions[seqid] = int(end)
            continue
        cells = line.split("\t")
        assert len(cells) == 9
        seqid, source, so_term, start, end, value, strand, phase, attributes = cells
        assert re.fullmatch(r"([a-zA-Z0-9.:^*$@!+_?|-]|%[0-9A-F]{2})+", seqid)
        assert (source, strand, phase) == ("plmsae", ".", ".")
        assert so_term in {term.name for term in SO_TERMS.values()}
        assert 1 <= int(start) <= int(end) <= regions[seqid]  # the region stands before its lines
        assert 0 <= float(value) <= 1
        tags = dict(pair.split("=") for pair in attributes.split(";"))
        assert {"ID", "Name", "Note", "latents", "model"} <= set(tags)
        assert {tag for tag in tags if tag[0].isupper()} == {"ID", "Name", "Note"}
        # What the split was, only the model's card can say: not every one is by family.
        assert re.search(r"on held-out proteins$|not measured$", unquote(tags["Note"]))
        ids.append(tags["ID"])
        latents = [int(latent) for latent in tags["latents"].split(",")]
        place = (unquote(seqid), int(start), int(end))
        found.append((*place, unquote(tags["Name"]), "precision" in tags, latents))
    expected = table(scored, "annotations").with_columns(pl.col("precision").is_not_null())
    columns = ("accession", "start", "end", "concept", "precision", "latents")
    expected = expected.with_columns(pl.col("latents").list.head(3))
    assert found == expected.select(columns).rows()
    assert len(set(ids)) == len(ids)
    assert set(map(unquote, regions)) == set(table(scored, "proteins")["accession"])


@pytest.mark.parametrize(
    ("precision", "low", "told"),
    [
        (0.8, 0.68, "precision 0.80 (95 % interval from 0.68) on"),
        (0.0008, 0.0, "precision below 0.01 (95 % interval from 0.00) on"),
        (0.5, None, "precision 0.50 on"),
        (None, None, "precision not measured"),
    ],
)
def test_a_gff3_note_says_the_precision(
    precision: float | None, low: float | None, told: str
) -> None:
    assert told in _precision_in_words({"precision": precision, "precision_low": low})


@given(st.text(max_size=30))
def test_a_gff3_attribute_never_breaks_its_line_and_reads_back(value: str) -> None:
    escaped = _gff3_escape(value)
    assert not set(escaped) & set("\t\n\r;=&,")
    assert unquote(escaped) == value


@given(st.text(min_size=1, max_size=20))
def test_a_gff3_seqid_holds_only_legal_characters_and_reads_back(value: str) -> None:
    value = value.encode("utf-8", "ignore").decode()
    escaped = _gff3_seqid(value)
    assert re.fullmatch(r"[a-zA-Z0-9.:^*$@!+_?|%-]*", escaped)
    assert unquote(escaped) == value


def test_the_uniprot_table_reads_back_through_the_uniprot_parser(
    scored: Path, tmp_path: Path
) -> None:
    lines = text(scored, tmp_path, "uniprot")
    header = lines[0].split("\t")
    assert header[:2] == ["Entry", "Length"]
    assert set(header[2:]) <= set(FEATURE_COLUMNS)
    found = []
    for line in lines[1:]:
        cells = dict(zip(header, line.split("\t"), strict=True))
        for column in header[2:]:
            for feature in parse_features(cells[column], where=column):
                assert feature.key == FEATURE_COLUMNS[column]
                assert feature.qualifiers["evidence"] == "ECO:0008006|plmsae:fake/1"
                name = feature.qualifiers.get("note", feature.qualifiers.get("ligand"))
                found.append((cells["Entry"], column, feature.start, feature.end, name))
    names = {
        "Domain: W, rich; 50% = a&b": "W, rich; 50% = a&b",
        'Binding site: poly(A) "x"': 'poly(A) "x"',
        "Active site": None,
        "Pfam: PF00069": "Pfam: PF00069",
        "Cofactor: Zn(2+)": "Zn(2+)",
    }
    expected = [
        (accession, column_of(concept), start, end, names[concept])
        for accession, start, end, concept in table(scored, "annotations")
        .select("accession", "start", "end", "concept")
        .iter_rows()
    ]
    order = list(dict.fromkeys(row[0] for row in found))
    expected = [row for row in expected if row[0] in order]
    assert sorted(map(str, found)) == sorted(map(str, expected))
    assert [line.split("\t")[0] for line in lines[1:]] == table(scored, "proteins")[
        "accession"
    ].to_list()


def test_jsonl_holds_every_record_once(scored: Path, tmp_path: Path) -> None:
    objects = [json.loads(line) for line in text(scored, tmp_path, "jsonl")]
    good = [value for value in objects if value["status"] != "rejected"]
    proteins, annotations = table(scored, "proteins"), table(scored, "annotations")
    assert [{k: v for k, v in value.items() if k != "annotations"} for value in good] == (
        proteins.to_dicts()
    )
    found = [
        (value["accession"], row["start"], row["end"], row["concept"], row["precision"])
        for value in good
        for row in value["annotations"]
    ]
    columns = ("accession", "start", "end", "concept", "precision")
    assert found == annotations.select(columns).rows()
    bad = [value for value in objects if value["status"] == "rejected"]
    assert [(v["accession"], v["where"], v["reason"]) for v in bad] == (
        table(scored, "rejected").rows()
    )


@pytest.mark.parametrize("form", ["gff3", "tsv", "uniprot", "jsonl"])
def test_standard_output_gets_the_same_text(
    scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    lines = text(scored, tmp_path, form)
    export(scored, form, "-")
    assert capsys.readouterr().out.splitlines() == lines


def test_a_folder_that_is_not_complete_is_refused_and_nothing_is_written(
    scored: Path, tmp_path: Path
) -> None:
    (scored / "manifest.json").unlink()
    with pytest.raises(InputError, match="not complete"):
        export(scored, "gff3", tmp_path / "x.gff3")
    with pytest.raises(InputError, match="no such score folder"):
        export(tmp_path / "nowhere", "gff3", tmp_path / "x.gff3")
    with pytest.raises(InputError, match="unknown export format"):
        export(scored, "xml", tmp_path / "x.gff3")
    assert not (tmp_path / "x.gff3").exists()


def test_an_export_that_fails_half_way_leaves_the_old_file(scored: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.gff3"
    target.write_text("old")
    (scored / "annotations" / "part-00002.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"part-00002.*cannot be read"):
        export(scored, "gff3", target)
    assert target.read_text() == "old"


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([column.removesuffix(" [FT]") for column in SO_TERMS]),
    st.one_of(st.none(), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ():+;/-]{0,20}", fullmatch=True)),
    st.integers(1, 99),
    st.integers(0, 9),
)
def test_a_concept_survives_its_way_through_a_feature(
    kind: str, name: str | None, start: int, length: int
) -> None:
    from plmsae.proteins.features import render_features

    concept = kind if name is None else f"{kind}: {name}"
    feature = as_feature(concept, start, start + length, evidence="ECO:0008006|x")
    (found,) = parse_features(render_features([feature]), where="")
    assert found == feature
    assert column_of(concept).removesuffix(" [FT]") == split_concept(concept)[0] == kind
    assert found.qualifiers.get("note", found.qualifiers.get("ligand")) == name


def test_the_table_has_the_columns_of_the_annotations_and_reads_back_as_labels(
    scored: Path, tmp_path: Path
) -> None:
    lines = text(scored, tmp_path, "tsv")
    annotations = table(scored, "annotations")
    assert lines[0].split("\t") == annotations.columns
    rows = [dict(zip(annotations.columns, line.split("\t"), strict=True)) for line in lines[1:]]
    for row, expected in zip(rows, annotations.iter_rows(named=True), strict=True):
        assert float(row["score"]) == pytest.approx(expected["score"], rel=1e-3)
        found = float(row["precision"]) if row["precision"] else None
        assert found == (None if expected["precision"] is None else pytest.approx(found, rel=1e-3))
        assert row["latents"] == ";".join(map(str, expected["latents"]))
    labels = read_labels(tmp_path / "x.tsv")
    assert set(labels["concept"]) == set(annotations["concept"])
    assert labels.height == annotations.unique(["accession", "start", "end", "concept"]).height


def test_standard_output_is_utf8_under_any_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fasta = write_fasta(tmp_path / "x.fasta", [("Prö=t1", "WWWWWW")])
    score(fasta, FakeBundle(), tmp_path / "o", model_uri="fake/1", encoder=FakeEncoder())
    binary = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(binary, encoding="ascii"))
    for form in ("gff3", "tsv", "uniprot", "jsonl"):
        export(tmp_path / "o", form, "-")  # type: ignore[arg-type]
    sys.stdout.write("and more can be written")
    sys.stdout.flush()
    assert binary.getvalue().decode("utf-8").count("Prö=t1") >= 3
