"""Commands that are printed work in the shell they are printed to."""

from __future__ import annotations

import sys

import pytest

from plmsae.core.programs import activation_line, program


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A virtual environment in the working folder that nobody has activated."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("activate", "mlflow"):
        (programs / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    return tmp_path / ".venv"


def test_without_activation_a_program_is_called_by_its_path(environment):
    assert program("mlflow") == ".venv/bin/mlflow"
    assert activation_line() == ". .venv/bin/activate"


def test_from_another_folder_the_path_is_absolute(environment, monkeypatch):
    other = environment.parent / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    assert program("mlflow") == str(environment / "bin" / "mlflow")


def test_in_an_active_environment_the_name_is_enough(environment, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", str(environment))
    assert program("mlflow") == "mlflow"
    assert activation_line() is None


def test_outside_of_a_virtual_environment_the_name_is_enough(environment, monkeypatch):
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    assert program("mlflow") == "mlflow"
