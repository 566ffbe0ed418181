"""Adding an architecture, a format, a page, a measure or a PLM family is adding one file.

The package is copied, one file of each kind is put into the copy, and nothing else is changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ADDED = {
    "sae/architectures/dummy.py": """
from plmsae.sae.architecture import Architecture
from plmsae.sae.architectures.topk import TopK


class Dummy(TopK):
    pass


ARCHITECTURE = Architecture(sae=Dummy, saelens_name="topk", needs_k=True)
""",
    "sae/importing/formats/dummy.py": """
import torch

from plmsae.sae.config import SaeConfig
from plmsae.sae.importing.common import ImportedSae, SaeFormat


def find(folder, options):
    path = folder / "dummy.safetensors"
    return path if path.is_file() else None


def fits(weights):
    return weights.names == {"dummy_encoder"}


def read(weights, options):
    d, f = weights.shape("dummy_encoder", 2)
    encoder = weights.take("dummy_encoder", (d, f))
    tensors = {"W_enc": encoder, "W_dec": encoder.t()}
    tensors |= {"b_enc": torch.zeros(f), "b_dec": torch.zeros(d)}
    return ImportedSae(config=SaeConfig(arch="topk", d_in=d, d_sae=f, k=1), tensors=tensors)


FORMAT = SaeFormat(rank=5, find=find, fits=fits, read=read)
""",
    "scoring/exporters/dummy.py": """
from plmsae.scoring.exporter import Exporter, scored_proteins


def lines(folder):
    for protein, rows in scored_proteins(folder):
        yield f"{protein['accession']} {len(rows)}\\n", len(rows)


EXPORTER = Exporter(suffixes=(".dummy",), lines=lines)
""",
    "reports/pages/dummy.py": """
from plmsae.reports.page import ReportPage

PAGE = ReportPage(filename="report.dummy", render=lambda reports, about: f"{len(reports)} dummies")
""",
    "quality/measures/dummy.py": """
from plmsae.quality.measure import Measure, Measured

MEASURES = {
    "dummy_number": Measure(
        what="always 7", kinds=("labels",), columns=(), compute=lambda frame, context: Measured(7)
    )
}
""",
    "plm/families/dummy.py": """
from transformers import AutoConfig, EsmConfig

from plmsae.plm.families.esm import Esm


class DummyConfig(EsmConfig):
    model_type = "dummy-plm"


AutoConfig.register("dummy-plm", DummyConfig)


class Dummy(Esm):
    model_types = ("dummy-plm",)
""",
}

USED = {
    "an architecture is trained, stored and loaded": """
import torch
from sae_planted import Planted
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.model import load_sae
from plmsae.sae.train import train

config = SaeConfig(arch="dummy", d_in=16, d_sae=32, k=2)
sae = train(Planted(), config, TrainConfig(steps=3, batch_size=64, device="cpu")).sae
sae.save(here / "sae")
again = load_sae(here / "sae")
assert type(again).__name__ == "Dummy" and again.config == config
assert torch.equal(again.W_enc_FD, sae.W_enc_FD)
""",
    "a checkpoint of a foreign format is recognised, and the command line offers the format": """
import torch
from safetensors.torch import save_file
from plmsae.cli.reference import cli_page
from plmsae.sae.importing.dispatch import import_sae

save_file({"dummy_encoder": torch.eye(4)}, here / "dummy.safetensors")
sae, origin = import_sae(here)
assert origin["format"] == "dummy" and sae.config.d_sae == 4
assert "<auto|dummy|" in cli_page()
""",
    "an export has the ending of its format": """
from scoring_fakes import FakeBundle, FakeEncoder, proteome, write_fasta
from plmsae.cli.app import run
from plmsae.scoring.engine import score

fasta = write_fasta(here / "x.fasta", proteome())
found = score(fasta, FakeBundle(), here / "out", model_uri="m/1", encoder=FakeEncoder())
assert run(["export", str(here / "out"), "--out", str(here / "calls.dummy")]) == 0
assert len((here / "calls.dummy").read_text().splitlines()) == found.n_scored
assert run(["export", str(here / "out"), "--out", "-", "--format", "dummy"]) == 0
""",
    "a page is written beside the others": """
from plmsae.reports.render import render_reports

paths = render_reports([], here)
assert paths["dummy"].name == "report.dummy"
assert paths["dummy"].read_text() == "0 dummies"
""",
    "a suite puts an expectation on a measure": """
import json
import polars as pl
from plmsae.quality.validation import validate

kwargs = {"column": "dummy_number", "min_value": 8}
expectation = {"name": "a", "type": "expect_column_values_to_be_between", "kwargs": kwargs}
expectation |= {"severity": "critical", "why": "Because."}
suite = {"kind": "labels", "columns": {"start": "integer"}, "expectations": [expectation]}
(here / "suite.yaml").write_text(json.dumps(suite))
frame = pl.DataFrame({"start": [1]})
report = validate("labels", frame, out_dir=here / "quality", suite_path=here / "suite.yaml")
assert not report.success and report.results[0].value == 7
""",
    "a checkpoint of a PLM family is opened": """
import json
from tiny import save_tiny
from plmsae.plm.model import load_plm

folder = save_tiny(here / "plm")
config = json.loads((folder / "config.json").read_text())
(folder / "config.json").write_text(json.dumps(config | {"model_type": "dummy-plm"}))
plm = load_plm(str(folder), device="cpu")
assert type(plm.family).__name__ == "Dummy" and plm.n_layers == 3
""",
}


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package, to which files were added."""
    folder = tmp_path_factory.mktemp("extended")
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "plmsae", folder / "plmsae", ignore=skipped)
    shutil.copytree(ROOT / "registry", folder / "registry", ignore=skipped)
    for name, text in ADDED.items():
        path = folder / "plmsae" / name
        assert not path.exists()
        path.write_text(text)
    return folder


@pytest.mark.parametrize("what", USED)
def test_one_file_is_enough(extended: Path, tmp_path: Path, what: str) -> None:
    shared = [ROOT / "tests" / name for name in ("sae", "scoring", "plm")]
    paths = os.pathsep.join(map(str, [extended, *shared]))
    start = f"import pathlib\nhere = pathlib.Path({str(tmp_path)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", start + USED[what]],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
