from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from scoring_fakes import FakeBundle, FakeEncoder, FakeMeta, proteome, table, write_fasta

from plmsae.core.errors import InputError
from plmsae.registry.mlflow_model import _signature
from plmsae.scoring.engine import score
from plmsae.scoring.pyfunc import COLUMNS, PyfuncModel, _ServedModel


def model(**changed: float) -> PyfuncModel:
    return PyfuncModel(FakeBundle(meta=FakeMeta(**changed)), FakeEncoder())  # type: ignore[arg-type]


def test_predictions_are_the_annotations_that_scoring_writes(tmp_path: Path) -> None:
    proteins = proteome(bad=False)
    fasta = write_fasta(tmp_path / "x.fasta", proteins)
    score(fasta, FakeBundle(), tmp_path / "out", model_uri="m/1", encoder=FakeEncoder())
    frame = pd.DataFrame(proteins, columns=["accession", "sequence"])
    found = model().predict(frame)
    assert tuple(found.columns) == COLUMNS
    expected = table(tmp_path / "out", "annotations").select(COLUMNS).to_dicts()
    found = found.astype(object).where(found.notna(), None)
    assert found.to_dict("records") == expected


def test_the_signature_says_what_is_returned() -> None:
    bundle = FakeBundle()
    signature = _signature(bundle)  # type: ignore[arg-type]
    frame = pd.DataFrame(proteome(bad=False), columns=["accession", "sequence"])
    calls = model().predict(frame)
    assert calls["probability"].isna().all()  # it has no calibrator: a column without a type
    found = infer_signature(frame, calls.assign(probability=0.5))
    assert found.outputs is not None
    assert {c.name: c.type for c in found.outputs} == {c.name: c.type for c in signature.outputs}
    assert tuple(signature.outputs.input_names()) == COLUMNS


def test_without_accessions_the_row_names_the_protein() -> None:
    frame = pd.DataFrame({"sequence": ["AAA", "aw*"]}, index=[7, 8])
    for changed in (frame, frame.assign(accession=["P1", None]), frame.assign(accession="")):
        found = model().predict(changed)
        assert set(found["accession"]) == {"2"}
        assert found["start"].tolist() == [2]
        assert list(found["implied"].iloc[0]) == ["Domain"]


def test_no_call_gives_an_empty_table_with_all_columns() -> None:
    found = model().predict(pd.DataFrame({"sequence": ["AAA"]}))
    assert found.empty
    assert tuple(found.columns) == COLUMNS
    assert str(found["start"].dtype) == "int32"
    empty = model().predict(pd.DataFrame({"sequence": []}))
    assert empty.empty


def test_min_precision_is_the_bundle_s_own_unless_given() -> None:
    frame = pd.DataFrame({"sequence": ["AWWAK"]})
    assert set(model(min_precision=0.6).predict(frame)["concept"]) == {"Domain: W-rich"}
    found = model(min_precision=0.6).predict(frame, {"min_precision": 0.9})
    assert set(found["concept"]) == {"Domain: W-rich"}
    found = model(min_precision=0.6).predict(frame.assign(sequence="AWWAKAH"), {"min_precision": 0})
    assert set(found["concept"]) == {"Domain: W-rich", "Binding site: ATP"}


@pytest.mark.parametrize(
    ("frame", "params", "message"),
    [
        ({"seq": ["AAA"]}, None, "no column 'sequence'"),
        ({"sequence": ["AAA", ""]}, None, "row 2"),
        ({"sequence": [None]}, None, "row 1"),
        ({"sequence": ["AA", "A-A"]}, None, "row 2: illegal character at position 2"),
        ({"sequence": ["AA", "AZA"]}, None, "lacks Z"),
        ({"sequence": ["AA"]}, {"min_precison": 0.5}, "unknown parameter"),
        ({"sequence": ["AA"]}, {"min_precision": 5}, "between 0 and 1"),
    ],
)
def test_a_wrong_input_gets_one_clear_line(
    frame: dict[str, list[str]], params: dict[str, float] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        model().predict(pd.DataFrame(frame), params)


def test_mlflow_is_told_what_is_wrong_with_an_input_and_no_stack_trace() -> None:
    served = _ServedModel(FakeBundle(), FakeEncoder())  # type: ignore[arg-type]
    with pytest.raises(MlflowException) as caught:
        served.predict(pd.DataFrame({"sequence": ["AA1A"]}))
    answer = json.loads(caught.value.serialize_as_json())
    assert answer["error_code"] == "BAD_REQUEST"
    assert "row 1: illegal character at position 3" in answer["message"]
    assert "stack_trace" not in answer
    assert caught.value.get_http_status_code() == 400
