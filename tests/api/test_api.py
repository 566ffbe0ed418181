"""The public Python API, as a notebook uses it."""

from __future__ import annotations

import doctest
import gzip
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from bundle_fixtures import Make

import plmsae
from plmsae.api.progress import listener
from plmsae.core.errors import InputError
from plmsae.workflows.shared.swissprot_sample import SAMPLE

ROOT = Path(__file__).resolve().parents[2]
# In the order in which one makes the files that the next one reads.
EXAMPLES = (
    *("train", "evaluate", "load", "Model.encode", "Model.annotate"),
    *("score", "features", "fill", "validate", "report"),
)


def test_importing_plmsae_loads_nothing() -> None:
    code = "import json, sys; import plmsae; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    modules = json.loads(done.stdout)
    assert not {"torch", "numpy", "polars", "mlflow", "plmsae.api"} & set(modules)


def test_every_public_name_is_there_and_described() -> None:
    assert set(plmsae.__all__) <= set(dir(plmsae))
    for name in set(plmsae.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(plmsae, name)), name
    with pytest.raises(AttributeError, match="'plmsae' has no attribute 'nonsense'"):
        plmsae.nonsense  # noqa: B018


@pytest.mark.slow
def test_examples_of_the_docstrings_and_of_the_page_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    table = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None)
    short = table.filter(pl.col("Sequence").str.len_chars() < 150)[:120]
    text = short.write_csv(separator="\t", quote_style="never")
    (tmp_path / "swissprot.tsv.gz").write_bytes(gzip.compress(text.encode()))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for name in EXAMPLES:
        member: Any = plmsae
        for part in name.split("."):
            member = getattr(member, part)
        parsed = doctest.DocTestParser().get_doctest(inspect.getdoc(member), {}, name, name, 0)
        assert parsed.examples, name
        said: list[str] = []
        runner.run(parsed, out=said.append)
        assert not runner.failures, "".join(said)
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(block, "docs/api.md", "exec"), {})


def test_a_bundle_folder_opens_without_mlflow(make_bundle: Make) -> None:
    bundle = make_bundle()
    model = plmsae.load(bundle.path)
    assert model.uri.startswith(f"{bundle.name}@sha256:")
    assert model.concepts.equals(bundle.concepts)
    assert model.features.height == bundle.meta.d_sae
    assert model.card == bundle.card
    assert model.uri in repr(model)
    with pytest.raises(InputError, match="a list of sequences"):
        model.encode("MKT")


def test_a_missing_or_unknown_argument_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'model'"):
        plmsae.evaluate(concepts="p.tsv", out="o")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'layer'"):
        plmsae.train(proteins="p.fasta", layer=4)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="'unit' must be residue or protein"):
        plmsae.train(proteins="p.fasta", unit="atom")  # type: ignore[arg-type]


def test_bars_show_how_far_a_task_has_come(capsys: pytest.CaptureFixture[str]) -> None:
    with listener(progress=True).task("reading") as task:
        task.update(1, 4, "a note")
        task.update(4, 4)
    shown = capsys.readouterr().err
    assert "reading" in shown
    assert "4/4" in shown
