"""A working folder in which what the documents show runs as it is printed.

It has what `make demo` and a first `plmsae score` leave: a registered model under the name that the
documents use, here the model that ships, and results on real proteins.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import polars as pl
import pytest

from plmsae.cli.app import run
from plmsae.cli.commands import MODEL
from plmsae.core.resources import ready_model
from plmsae.registry.models import register
from plmsae.workflows.shared.swissprot_sample import SAMPLE


@pytest.fixture(scope="session")
def working_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        ref = register(ready_model(), aliases=("challenger", "champion"))
        assert ref.name == MODEL
        shutil.copytree(ready_model(), folder / "runs" / "evaluate" / "bundle")
        write_proteins(folder)
        assert run(["score", "proteome.fasta", "-m", MODEL, "-o", "annotated", "--features"]) == 0
        write_tables(folder)
    return folder


@pytest.fixture
def inside(working_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in that folder, as a user who has just set everything up."""
    enter(working_folder, monkeypatch)
    return working_folder


def enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        patch.delenv(name, raising=False)
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    patch.setenv("PLMSAE_CACHE", str(folder / "cache"))
    patch.chdir(folder)


def write_proteins(folder: Path) -> None:
    """Write a part of the sample of Swiss-Prot under the names that the documents use."""
    table = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None)
    text = table[:200].write_csv(separator="\t", quote_style="never")
    (folder / "uniprot.tsv.gz").write_bytes(gzip.compress(text.encode()))
    some = table.filter(pl.col("Transmembrane").is_not_null())[:12]
    rows = some.select("Entry", "Sequence").rows()
    (folder / "proteome.fasta").write_text("".join(f">{e}\n{s}\n" for e, s in rows))


def write_tables(folder: Path) -> None:
    """Write tables as other tools may have made them, in the documented columns."""
    calls = pl.read_parquet(folder / "annotated" / "annotations" / "*.parquet")
    of_any_tool = ["accession", "start", "end", "concept", "precision", "precision_low"]
    calls.select(*of_any_tool, "score", "model_uri").write_csv(folder / "calls.tsv", separator="\t")
    labels = calls.select("accession", "start", "end", "concept")
    labels.write_csv(folder / "labels.tsv", separator="\t")
    # At places without a label: these proteins are not in the table of labels.
    others = calls.with_columns(accession="X" + pl.col("accession"))
    others.select(of_any_tool).write_csv(folder / "proposals.tsv", separator="\t")
