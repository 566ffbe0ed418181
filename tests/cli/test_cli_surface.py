"""The command line as people and scripts know it: names, help, and what --help costs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from plmsae import __version__
from plmsae.cli import reference
from plmsae.cli.app import ORDER, app, run
from plmsae.cli.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
GROUP: Any = typer.main.get_command(app)

COMMON = {"--json", "--quiet", "--debug", "--help"}
TRACKED = COMMON | {"--tracking-uri"}
# Taking a name away or giving it another meaning breaks somebody's script: think, then say so in
# the changelog, then change it here.
SURFACE: dict[str, set[str]] = {
    "fetch": COMMON | {"PLM", "--plm-revision", "--fit-head", "--device", "--seed"},
    "pretrain": TRACKED
    | {"PROTEINS", "--out", "--held-out", "--init", "--clusters", "--simulated-share"}
    | {"--n-layers", "--d-model"}
    | {"--n-heads", "--steps", "--tokens-per-step", "--row", "--matrix-lr", "--other-lr"}
    | {"--optimizer", "--mask-share", "--decay-share", "--precision", "--checkpoint-minutes"}
    | {"--max-minutes", "--device", "--seed", "--warmup-share", "--weight-decay", "--clip", "--ema"}
    | {"--token-dropout", "--workers"},
    "distil": TRACKED
    | {"PROTEINS", "--teacher", "--teacher-revision", "--teacher-licence", "--out", "--held-out"}
    | {"--init"}
    | {"--clusters", "--n-layers", "--d-model", "--n-heads", "--steps", "--forced-steps"}
    | {"--kl-weight", "--true-weight", "--tokens-per-step", "--row", "--workers", "--matrix-lr"}
    | {"--other-lr", "--optimizer", "--mask-share", "--clean-share", "--warmup-share"}
    | {"--decay-share", "--precision", "--measure-minutes", "--checkpoint-minutes"}
    | {"--max-minutes", "--device", "--seed", "--weight-decay", "--clip", "--ema"}
    | {"--state-weight", "--forced-share"},
    "train": TRACKED
    | {"--start-over"}
    | {"PROTEINS", "--plm", "--plm-revision", "--layers", "--unit", "--recipe", "--d-sae", "--k"}
    | {"--arch", "--n-vectors", "--batch-size", "--lr", "--max-proteins", "--cache"}
    | {"--cache-dtype", "--target", "--target-layer", "--out", "--register", "--device"}
    | {"--levels", "--warmup-share", "--decay-share", "--sparsity-coefficient", "--per-row-share"}
    | {"--auxk-coefficient", "--auxk-k", "--dead-window-share", "--grad-clip", "--scale-batches"}
    | {"--checkpoint-minutes", "--log-every", "--precision", "--threads"}
    | {"--seed"},
    "import": TRACKED
    | {"SOURCE", "DIR", "--plm", "--layer", "--target-layer", "--from", "--plm-revision", "--unit"}
    | {"--format", "--k", "--arch"}
    | {"--norm-factor", "--convention", "--name", "--proteins", "--out", "--register", "--device"}
    | {"--seed", "--check-fit"},
    "evaluate": TRACKED
    | {"--start-over"}
    | {"CONCEPTS", "--model", "--proteins", "--report-on", "--split", "--identity"}
    | {"--select-share", "--min-instances", "--min-residues", "--min-spans"}
    | {"--min-precision", "--max-proteins", "--baselines", "--random-vectors", "--bootstrap"}
    | {"--kinds", "--keep-encoded"}
    | {
        "--fidelity-proteins",
        "--probes",
        "--ontology",
        "--out",
        "--register",
        "--promote",
        "--device",
        "--precision",
        "--threads",
        "--seed",
    },
    "models": TRACKED | {"REF", "--compare", "--all", "--history"},
    "compare": TRACKED | {"REF", "--all"},
    "promote": TRACKED | {"REF", "--force", "--reason"},
    "lineage": TRACKED | {"MODEL"},
    "score": TRACKED
    | {"--start-over"}
    | {"PROTEINS", "--model", "--out", "--format", "--features", "--strict", "--min-precision"}
    | {"--validate", "--device", "--precision", "--engine", "--address", "--workers"}
    | {"--encoded", "--threads"},
    "features": TRACKED | {"DIR", "--latent", "--top", "--min-activation", "--model", "--out"},
    "fill": TRACKED
    | {"--start-over"}
    | {"TABLE", "--model", "--out", "--truth", "--min-precision", "--missing-share", "--strict"}
    | {"--missing-shares", "--ontology", "--encoded", "--threads"}
    | {"--backtest", "--hide-share", "--validate", "--device", "--precision", "--seed"},
    "validate": TRACKED | {"PATH", "--kind", "--out", "--proteins", "--labels", "--model"},
    "report": TRACKED
    | {"PROTEINS", "--model", "--out", "--n-features", "--latents", "--llm", "--no-llm"}
    | {"--max-proteins", "--device", "--seed", "--batch", "--max-usd", "--dry-run", "--encoded"}
    | {"--threads"},
    "atlas": TRACKED
    | {"MODEL", "--proteins", "--out", "--max-proteins", "--features-per-protein", "--compare"}
    | {
        "--proposals",
        "--reports",
        "--structures",
        "--fetch-structures",
        "--ontology",
        "--min-precision",
    }
    | {"--serve", "--port", "--device", "--seed"},
    "steer": TRACKED
    | {"--model", "--sequence", "--latent", "--value", "--positions", "--mask", "--target"}
    | {"--generate", "--temperature", "--n-controls", "--out", "--device", "--seed"},
    "ablate": TRACKED
    | {"--model", "--sequence", "--mask", "--latents", "--n-latents", "--n-controls", "--out"}
    | {"--device", "--seed"},
    "export": COMMON | {"DIR", "--out", "--format"},
    "simulate": COMMON
    | {"--out", "--n-families", "--proteins-per-family", "--hidden-fraction", "--seed"},
    "demo": TRACKED
    | {"--out", "--plm", "--layer", "--max-proteins", "--d-sae", "--n-vectors"}
    | {"--random-vectors", "--min-precision", "--fill-precision", "--hide-share"}
    | {"--device", "--seed"},
}


def shown(name: str) -> set[str]:
    command = GROUP.commands[name]
    context = command.make_context(name, [], resilient_parsing=True)
    found = set()
    for parameter in command.get_params(context):
        longest = max(parameter.opts, key=len)
        found.add(longest if longest.startswith("--") else parameter.metavar)
    return found


@pytest.mark.parametrize("name", ORDER)
def test_names_of_commands_and_options_are_frozen(name: str) -> None:
    assert shown(name) == SURFACE[name]


def test_every_command_is_listed() -> None:
    assert list(GROUP.commands) == list(ORDER) == list(SURFACE)


@pytest.mark.parametrize("name", ORDER)
def test_every_option_is_explained_and_every_command_has_an_example(name: str) -> None:
    command = GROUP.commands[name]
    context = command.make_context(name, [], resilient_parsing=True)
    assert f"Examples:\n    plmsae {name}" in command.get_help(context)
    unexplained = [p.name for p in command.get_params(context) if not (p.help or "").strip()]
    assert not unexplained
    # A first line that does not fit is cut with dots in the list of commands.
    assert not command.get_short_help_str(limit=66).endswith("...")


def test_examples_in_the_help_are_commands_that_parse() -> None:
    from plmsae.cli.app import ABOUT, EXAMPLES

    lines = [line.strip() for line in ABOUT.splitlines() if line.startswith("  plmsae")]
    lines += [example for spec in COMMANDS for example in spec.examples]
    lines += [example for examples in EXAMPLES.values() for example in examples]
    for line in lines:
        after_pipe = line.split("| plmsae")[-1].removeprefix("plmsae").split(" | ")[0]
        name, *arguments = after_pipe.split()
        GROUP.commands[name].make_context(name, arguments)


def test_help_imports_nothing_heavy() -> None:
    heavy = "torch mlflow polars transformers great_expectations anthropic sklearn scipy numpy "
    heavy += "pandas pyarrow matplotlib rich yaml"
    code = (
        "import contextlib, io, json, sys\n"
        "from plmsae.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(sys.argv[1:])\n"
        "print(json.dumps(list(sys.modules)))"
    )
    for arguments in (["--help"], ["train", "--help"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        assert not set(heavy.split()) & set(json.loads(done.stdout))


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"plmsae {__version__}\n"


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Usage: plmsae" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(reference.pages()))
def test_pages_made_from_the_program_are_up_to_date(path: str) -> None:
    hint = "run python -m plmsae.cli.reference"
    assert (ROOT / path).read_text(encoding="utf-8") == reference.pages()[path], hint


def test_conda_yaml_lists_the_dependencies_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text(encoding="utf-8"))
    (listed,) = [d["pip"] for d in conda["dependencies"] if isinstance(d, dict)]
    assert listed == ["-c constraints.txt", *project["dependencies"]]


def test_constraints_pin_every_dependency_and_name_no_build() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(line.count("==") == 1 and not set(line) & set("+@/;") for line in pins)
    pinned = {_bare(line) for line in pins}
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    assert not {_bare(line) for line in wanted} - pinned


def _bare(requirement: str) -> str:
    name = re.split(r"[\[=<>]", requirement)[0]
    return name.strip().lower().replace("_", "-")
