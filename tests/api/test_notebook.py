"""The notebook of the documentation runs, on what ships, without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"


@pytest.mark.slow
def test_the_first_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    notebook = json.loads((NOTEBOOKS / "first_sae.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "clear the outputs before committing"
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert names["latents"][0].shape == (len(next(iter(names["sequences"].values()))), 512)
    assert names["annotations"].columns[:4] == ["accession", "start", "end", "concept"]
