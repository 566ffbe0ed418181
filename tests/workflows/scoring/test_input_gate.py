"""What scoring and filling say of an input before the PLM is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plmsae.core.errors import InputError, QualityError
from plmsae.scoring.spool import Spool
from plmsae.workflows.scoring.input_gate import check_input, parsed_input
from plmsae.workflows.shared.device import check_device
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import ScoreRequest

GOOD = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ"


def check(tmp_path: Path, text: str, *, strict: bool = False) -> None:
    path = tmp_path / "x.fasta"
    path.write_text(text)
    untracked: Any = None
    request = ScoreRequest(proteins=str(path), model="M", out=tmp_path / "out", strict=strict)
    with parsed_input(request.proteins, request, Silent()) as parsed:
        assert isinstance(parsed, Spool)
        check_input(parsed, request.proteins, request, untracked, Silent())


def test_one_bad_record_of_three_does_not_stop_the_others(tmp_path: Path) -> None:
    check(tmp_path, f">a\n{GOOD}\n>b\n>c\n{GOOD[::-1]}\n")
    assert (tmp_path / "out-quality" / "input" / "summary.html").is_file()


def test_under_strict_it_does(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"record 2 \(b\), line 3: a header without a sequence"):
        check(tmp_path, f">a\n{GOOD}\n>b\n", strict=True)


def test_many_bad_records_stop_at_the_gate_which_leaves_its_page(tmp_path: Path) -> None:
    with pytest.raises(QualityError) as caught:
        check(tmp_path, f">a\n{GOOD}\n>b\n>c\n")
    assert caught.value.report is not None
    assert Path(caught.value.report).is_file()


def test_a_file_without_a_usable_record_names_the_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no record can be used, of 2; .*record 1, line 1"):
        check(tmp_path, ">a\n>b\n")


@pytest.mark.parametrize("device", ["gpu", "cuda:x"])
def test_a_device_of_no_kind_gets_the_kinds_there_are(device: str) -> None:
    with pytest.raises(InputError, match="give auto, cpu, cuda, cuda:1 or mps") as caught:
        check_device(device)
    assert "opengl" not in str(caught.value)
