from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoring_fakes import FakeBundle, FakeEncoder, proteome, write_fasta

from plmsae.scoring.engine import score
from plmsae.scoring.parquet_files import made_by, write_table
from plmsae.scoring.schema import (
    ABSTAINED,
    ANNOTATIONS,
    FORMAT_VERSION,
    PROPOSALS,
    REJECTED,
    TABLES,
    empty_frame,
)


def row(**changed: object) -> dict[str, object]:
    values = {
        "accession": "P1",
        "start": 3,
        "end": 9,
        "concept": "Domain",
        "score": 0.5,
        "precision": None,
        "precision_low": None,
        "probability": None,
        "latents": [1, 2],
        "implied": ["Region"],
        "model_uri": "m/1",
    }
    return values | changed


def test_the_columns_are_the_contract() -> None:
    assert {name: schema.names for name, schema in TABLES.items()} == {
        "annotations": [
            *("accession", "start", "end", "concept", "score", "precision", "precision_low"),
            *("probability", "latents", "implied", "model_uri"),
        ],
        "features": ["accession", "position", "latent", "activation"],
        "proteins": ["accession", "length", "sha256", "status", "n_annotations"],
        "rejected": ["accession", "where", "reason"],
    }


@pytest.mark.parametrize("name", TABLES)
def test_a_file_without_rows_keeps_the_exact_types(tmp_path: Path, name: str) -> None:
    path = tmp_path / "part.parquet"
    write_table(path, empty_frame(TABLES[name]), TABLES[name])
    assert pq.read_schema(path).equals(TABLES[name])
    assert pl.read_parquet(path).schema == empty_frame(TABLES[name]).schema


@pytest.mark.parametrize("schema", [*TABLES.values(), PROPOSALS, ABSTAINED])
def test_a_file_says_what_its_columns_mean_and_whose_it_is(
    tmp_path: Path, schema: pa.Schema
) -> None:
    path = tmp_path / "part.parquet"
    write_table(path, empty_frame(schema), schema, made_by("m/1", "abc"))
    # To pyarrow in the metadata of its fields, to any reader in the key-value metadata.
    read = pq.read_schema(path)
    by_field = {field.name: field.metadata for field in read}
    whole = {key.decode(): value.decode() for key, value in read.metadata.items()}
    found = pl.read_parquet_metadata(path)
    assert {name: found[name] for name in whole} == whole
    assert (found["plmsae.model"], found["plmsae.model_sha256"]) == ("m/1", "abc")
    assert found["plmsae.format"] == str(FORMAT_VERSION)
    columns = json.loads(found["plmsae.columns"])
    assert list(by_field) == list(columns) == schema.names
    for name, facts in columns.items():
        assert by_field[name][b"meaning"].decode() == facts["meaning"].strip() != ""
        # What counts or measures has a unit.
        numeric = pa.types.is_integer(read.field(name).type) or pa.types.is_floating(
            read.field(name).type
        )
        assert bool(facts.get("unit")) or not numeric


def test_what_a_run_writes_names_its_model(tmp_path: Path) -> None:
    bundle = FakeBundle()
    fasta = write_fasta(tmp_path / "p.fasta", proteome())
    score(
        *(fasta, bundle, tmp_path / "out"),
        model_uri="fake/1",
        encoder=FakeEncoder(),
        write_features=True,
    )
    for name in TABLES:
        for path in (tmp_path / "out" / name).iterdir():
            found = pl.read_parquet_metadata(path)
            assert found["plmsae.table"] == name
            assert found["plmsae.model"] == "fake/1"
            assert found["plmsae.model_sha256"] == bundle.digest


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    rows = [
        row(),
        row(accession="P2", precision=0.9, precision_low=0.8, probability=0.75, latents=[7]),
    ]
    path = tmp_path / "part.parquet"
    write_table(path, pl.DataFrame(rows), ANNOTATIONS)
    assert pl.read_parquet(path).to_dicts() == rows
    assert pq.read_schema(path).equals(ANNOTATIONS)


def test_the_bytes_do_not_depend_on_how_the_rows_are_held(tmp_path: Path) -> None:
    frame = pl.DataFrame([row(accession=f"P{i}", latents=[i]) for i in range(50)])
    chunked = pl.concat([frame[:13], frame[13:]], rechunk=False)
    sliced = pl.concat([frame[:5], frame])[5:]
    for i, held in enumerate((frame, chunked, sliced, frame.to_arrow())):
        write_table(tmp_path / f"{i}.parquet", held, ANNOTATIONS)
    assert len({(tmp_path / f"{i}.parquet").read_bytes() for i in range(4)}) == 1


def test_a_null_where_none_may_be_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    frame = pl.DataFrame([row(concept=None)], schema=empty_frame(ANNOTATIONS).schema)
    with pytest.raises(ValueError, match="concept"):
        write_table(tmp_path / "part.parquet", frame, ANNOTATIONS)
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowInvalid):
        write_table(tmp_path / "part.parquet", pl.DataFrame([row(end=2**40)]), ANNOTATIONS)


def test_a_missing_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="reason"):
        write_table(tmp_path / "p.parquet", pl.DataFrame({"accession": [], "where": []}), REJECTED)
