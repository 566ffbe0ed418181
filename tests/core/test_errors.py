"""Errors carry what they know, and keep it on the way to another process."""

from __future__ import annotations

import pickle

import pytest

from plmsae.core.errors import (
    FormatError,
    InputError,
    NotFoundError,
    PlmsaeError,
    QualityError,
    ResourceError,
    TooFewClustersError,
    TrainingDivergedError,
    UnavailableError,
    UnsafeArtifactError,
    is_out_of_memory,
)
from plmsae.core.json_files import read_json
from plmsae.core.resources import registry_path
from plmsae.registry.gates import Gate, GateResult
from plmsae.registry.promotion import GatesNotMetError

INPUT = [
    *(InputError, NotFoundError, FormatError, UnsafeArtifactError),
    *(TooFewClustersError, TrainingDivergedError, ResourceError, UnavailableError),
]


def same(one, other):
    assert type(one) is type(other)
    assert str(one) == str(other)
    assert vars(one) == vars(other)
    assert one.exit_code == other.exit_code


@pytest.mark.parametrize("kind", INPUT)
def test_an_error_of_the_input_survives_pickling_whole(kind):
    error = kind("is cut", where="a.fasta", record="P1", line=3, value="x" * 99, hint="ask again")
    error.outcome = {"done": 3}
    same(error, pickle.loads(pickle.dumps(error)))
    assert error.exit_code == 2
    assert str(error).startswith("a.fasta, P1, line 3: is cut (found 'xxx")


def test_errors_of_the_gates_survive_pickling_whole():
    same(QualityError("a", "b", report="r.html"), pickle.loads(pickle.dumps(
        QualityError("a", "b", report="r.html"))))  # fmt: skip
    gate = Gate(metric="l0", op=">=", value=1.0)
    error = GatesNotMetError((GateResult(gate=gate, expected="l0 >= 1", found="0", passed=False),))
    again = pickle.loads(pickle.dumps(error))
    same(error, again)
    assert again.exit_code == 3


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (NotFoundError, LookupError),
        (FormatError, ValueError),
        (TrainingDivergedError, ArithmeticError),
        (ResourceError, MemoryError),
    ],
)
def test_each_is_also_the_builtin_that_says_the_same(kind, builtin):
    with pytest.raises(builtin):
        raise kind("x")
    assert issubclass(kind, PlmsaeError)


def test_a_lack_of_memory_is_known_as_one():
    assert is_out_of_memory(ResourceError("too large"))


@pytest.mark.parametrize(
    ("text", "kind"), [(None, NotFoundError), ("{", FormatError), ("[1]", FormatError)]
)
def test_a_file_that_is_missing_and_one_that_is_damaged_are_two_errors(tmp_path, text, kind):
    path = tmp_path / "state.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(kind):
        read_json(path)
    with pytest.raises(NotFoundError):
        registry_path("gone.yaml")
