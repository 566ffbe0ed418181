"""What reaches the workflows, what is printed, and what a wrong command line says."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_fakes import Outcome, install

from plmsae.cli.app import run
from plmsae.core.errors import InputError, QualityError
from plmsae.core.settings import make_settings
from plmsae.core.stopping import Terminated
from plmsae.workflows.shared import requests

Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def test_train_hands_over_exactly_what_was_given(monkeypatch: Patch) -> None:
    train = install(monkeypatch, "train", [Outcome()])
    given = "train p.fasta --layers 1,3..4 --unit protein --d-sae 64 --k 4 --lr 1e-3 --no-register"
    assert run([*given.split(), "--seed", "7", "-o", "there", "--cache", "c"]) == 0
    assert train.requests == [
        requests.TrainRequest(
            proteins="p.fasta",
            layers=(1, 3, 4),
            unit="protein",
            k=(4,),
            overrides={"d_sae": 64, "lr": 1e-3},
            cache=Path("c"),
            register=False,
            seed=7,
            out=Path("there"),
        )
    ]


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["pretrain", "a", "b", "-o", "r", "--held-out", "x", "--held-out", "y"],
         requests.PretrainRequest(proteins=("a", "b"), out=Path("r"), held_out=("x", "y"))),
        (["distil", "a", "--teacher", "T", "-o", "r", "--workers", "2"],
         make_settings(requests.DistilRequest,
             {"proteins": ("a",), "teacher": "T", "out": Path("r"), "workers": 2})),
        (["train", "p"], requests.TrainRequest(proteins="p")),
        (["train", "p", "--k", "32,64..65"], requests.TrainRequest(proteins="p", k=(32, 64, 65))),
        (["import", "interplm", "--plm", "esm2-8m", "--layer", "4"],
         requests.ImportRequest(source="interplm", plm="esm2-8m", layer=4)),
        (["import", "interplm", "--plm", "P", "--layer", "4", "--from", "d"],
         requests.ImportRequest(source="interplm", plm="P", layer=4, from_=Path("d"))),
        (["import", "sae", "d", "--plm", "P", "--layer", "0", "--k", "8", "--format", "saelens"],
         requests.ImportRequest(
             source="sae", folder=Path("d"), plm="P", layer=0, k=8, format="saelens")),
        (["evaluate", "t", "-m", "M", "--baselines", "none", "--promote"],
         requests.EvaluateRequest(model="M", concepts="t", baselines="none", promote=True)),
        (["evaluate", "--model", "M", "--concepts", "t", "--proteins", "p"],
         requests.EvaluateRequest(model="M", concepts="t", proteins="p")),
        (["score", "--proteins=p", "-m", "M", "-o", "d"],
         requests.ScoreRequest(proteins="p", model="M", out="d")),
        (["score", "-", "--model", "M@champion", "--out", "d", "--format", "gff3"],
         requests.ScoreRequest(proteins="-", model="M@champion", out="d", format="gff3")),
        (["fill", "t", "-m", "M", "-o", "d", "--no-validate", "--strict"],
         requests.FillRequest(table="t", model="M", out=Path("d"), validate=False, strict=True)),
        (["validate", "t", "--kind", "labels"], requests.ValidateRequest(path="t", kind="labels")),
        (["report", "p", "-m", "M", "--latents", "5,1..2", "--no-llm"],
         requests.ReportRequest(model="M", proteins="p", latents=(5, 1, 2), no_llm=True)),
        (["steer", "-m", "M", "--sequence", "MK", "--latent", "7", "--value", "1.5",
          "--positions", "1-2", "--generate", "one-shot"],
         requests.SteerRequest(model="M", sequence="MK", latent=7, value=1.5, positions=(1, 2),
                               generate="one-shot")),
        (["ablate", "-m", "M", "--sequence", "MK", "--latents", "3"],
         requests.AblateRequest(model="M", sequence="MK", latents=(3,))),
        (["simulate", "-o", "s"], requests.SimulateRequest(out=Path("s"))),
        (["demo"], requests.DemoRequest()),
    ],
)  # fmt: skip
def test_defaults_are_those_of_the_request(
    arguments: list[str], request_: object, monkeypatch: Patch
) -> None:
    workflow = install(monkeypatch, arguments[0])
    assert run(arguments) == 0
    assert workflow.requests == [request_]


def test_results_go_to_standard_output_and_progress_does_not(
    monkeypatch: Patch, capsys: Captured
) -> None:
    install(monkeypatch, "score")
    assert run(["score", "p", "-m", "M", "-o", "d"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "all done\nsecond line\n"
    assert "working" in captured.err
    assert "said" in captured.err


def test_quiet_leaves_results_alone_and_silences_the_rest(
    monkeypatch: Patch, capsys: Captured
) -> None:
    install(monkeypatch, "score")
    assert run(["score", "p", "-m", "M", "-o", "d", "--quiet"]) == 0
    assert capsys.readouterr() == ("all done\nsecond line\n", "")


def test_json_is_one_document(monkeypatch: Patch, capsys: Captured) -> None:
    install(monkeypatch, "train", [Outcome("a"), Outcome("b")])
    assert run(["train", "p", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"text": "a"}, {"text": "b"}]
    install(monkeypatch, "simulate", Path("made"))
    assert run(["simulate", "-o", "made", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": "made"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.tsv", "--concepts", "b.tsv"], "unexpected extra argument"),
        (["--concepts"], "--concepts"),
        (["--", "--concepts", "b.tsv"], "unexpected extra argument"),
    ],
)
def test_an_argument_given_by_name_is_given_once(
    arguments: list[str], said: str, capsys: Captured
) -> None:
    assert run(["evaluate", "-m", "M", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_an_input_error_is_one_line_with_exit_code_2(monkeypatch: Patch, capsys: Captured) -> None:
    install(monkeypatch, "train", InputError("no records", where="p.fasta"))
    assert run(["train", "p.fasta", "-q"]) == 2
    assert capsys.readouterr().err == "plmsae: error: p.fasta: no records\n"


def test_a_failed_quality_gate_exits_with_3(monkeypatch: Patch, capsys: Captured) -> None:
    install(monkeypatch, "validate", QualityError("unique accessions", "2 twice"))
    assert run(["validate", "t", "-q"]) == 3
    assert "expected unique accessions, found 2 twice" in capsys.readouterr().err


def test_what_was_done_is_told_though_a_gate_stopped_the_rest(
    monkeypatch: Patch, capsys: Captured
) -> None:
    error = QualityError("one concept", "none")
    error.outcome = Outcome("registered as m/2")
    install(monkeypatch, "evaluate", error)
    assert run(["evaluate", "t.tsv", "-m", "M", "--promote"]) == 3
    captured = capsys.readouterr()
    assert captured.out == "registered as m/2\nsecond line\n"
    assert captured.err.endswith("quality gate failed: expected one concept, found none\n")


def test_a_bug_is_one_line_and_debug_shows_the_traceback(
    monkeypatch: Patch, capsys: Captured
) -> None:
    install(monkeypatch, "train", ValueError("two\nlines"))
    assert run(["train", "p", "-q"]) == 1
    line = "plmsae: bug: ValueError: two lines; run again with --debug for the traceback\n"
    assert capsys.readouterr().err == line
    assert run(["train", "p", "-q", "--debug"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith(line)


def test_a_missing_file_is_the_users_error(monkeypatch: Patch, capsys: Captured) -> None:
    install(monkeypatch, "train", FileNotFoundError(2, "No such file or directory", "nope.fa"))
    assert run(["train", "nope.fa", "-q"]) == 2
    assert capsys.readouterr().err == "plmsae: error: nope.fa: No such file or directory\n"


class OutOfMemoryError(RuntimeError):
    """The name torch gives it."""


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError("Unable to allocate 9 GiB"),
    ],
)
def test_running_out_of_memory_says_what_to_do(
    error: Exception, monkeypatch: Patch, capsys: Captured
) -> None:
    install(monkeypatch, "score", error)
    assert run(["score", "p", "-m", "M", "-o", "d", "-q"]) == 1
    assert "out of memory; try fewer proteins" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "nothing was kept"),
        (Terminated(), 143, "nothing was kept"),
        (KeyboardInterrupt("2 parts are kept in d"), 130, "2 parts are kept in d"),
    ],
)
def test_a_stopped_command_says_what_is_kept_and_no_more(
    error: BaseException, code: int, said: str, monkeypatch: Patch, capsys: Captured
) -> None:
    install(monkeypatch, "score", error)
    assert run(["score", "p", "-m", "M", "-o", "d", "-q"]) == code
    assert capsys.readouterr().err == f"plmsae: stopped: {said}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "No such command 'trian'"),
        (["train"], "Missing argument 'PROTEINS'"),
        (["train", "p", "--layer", "3"], "No such option: --layer"),
        (["train", "p", "--layers", "3-"], "--layers: not a list of whole numbers such as"),
        (["train", "p", "--layers", "6..1"], "--layers: not a list of whole numbers such as"),
        (["train", "p", "--k", "some"], "--k: not a list of whole numbers such as"),
        (["import", "sea", "d", "--plm", "P", "--layer", "1"], "'sea' is not one of"),
        (["import", "sae", "d", "--plm", "P"], "Missing option '--layer'"),
        (["train", "p", "--lr", "fast"], "--lr: must be auto or a positive number"),
        (
            ["train", "p", "--seed", "x"],
            "Invalid value for '--seed': Input should be a valid integer",
        ),
        (["train", "p", "--unit", "atom"], "'atom' is not one of 'residue', 'protein'"),
        (["evaluate", "p", "--out", "d"], "Missing option '--model'"),
        (["score", "p", "q", "-m", "M", "-o", "d"], "unexpected extra argument"),
        (["export", "d"], "Missing option '--out'"),
        (["export", "d", "-o", "x.bed"], "cannot tell the format"),
        (["models", "--compare", "one"], "--compare: needs two references"),
        (["compare", "one"], "compare: needs two references"),
    ],
)
def test_a_wrong_command_line_is_one_line_with_exit_code_2(
    arguments: list[str], said: str, monkeypatch: Patch, capsys: Captured
) -> None:
    install(monkeypatch, "train")
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("plmsae: error: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_the_tracking_uri_reaches_the_workflow(monkeypatch: Patch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "before")
    install(monkeypatch, "demo")
    assert run(["demo", "--tracking-uri", "sqlite:///other.db"]) == 0
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///other.db"


def test_warnings_of_the_library_are_shown_and_those_of_others_are_not(
    monkeypatch: Patch, capsys: Captured
) -> None:
    class Loud(Outcome):
        def lines(self) -> list[str]:
            return []

    workflow = install(monkeypatch, "score", Loud())

    def loud(request: object, progress: object) -> Outcome:
        logging.getLogger("plmsae.scoring").warning("rejected %d", 3)
        logging.getLogger("transformers").warning("some advice")
        return Loud()

    monkeypatch.setattr(sys.modules["plmsae.workflows.score"], "run", loud)
    arguments = ["score", "p", "-m", "M", "-o", "d"]
    assert run(arguments) == 0
    assert capsys.readouterr().err == "plmsae: warning: rejected 3\n"
    assert run([*arguments, "-q"]) == 0
    assert capsys.readouterr().err == ""
    assert not workflow.requests


def test_a_closed_pipe_is_silent() -> None:
    code = "from plmsae.cli import main; main(['--help'])"
    head = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.stdout.reconfigure(line_buffering=True); {code}"],
        stdout=_closed_pipe(),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert head.stderr == ""
    assert head.returncode != 0


def _closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer
