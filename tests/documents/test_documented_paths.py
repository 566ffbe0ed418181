"""Every path of the project that the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "plmsae"
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *(PACKAGE / "data" / "README.md", PACKAGE / "plm" / "mini" / "README.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TOPS = {"plmsae", "tests", "docs", "registry", "benchmarks", "pipelines", ".ci"}
ROOMS = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
ELSEWHERE = {
    "interpretability/inferece.py": "edithvillegas/plm-sae",
    "interprot/esm_wrapper.py": "etowahadams/interprot",
    "components/transformer_block.py": "TransformerLensOrg/TransformerLens",
    "esm/constants.py": "facebookresearch/esm",
    "esm/pretrained.py": "facebookresearch/esm",
    "esm2.py": "facebookresearch/esm",
    "likelihood.py": "agemagician/Ankh",
    "plmsae/plm/families/electra.py": "written by the reader of docs/add-a-plm.md",
    "plmsae/_registry": "of the installed package, in the place of registry/",
}
"""Files of other projects, or of readers → whose they are."""

FOOTER_KEYS = {f"plmsae.{k}" for k in ("format", "table", "columns", "model", "model_sha256")}
"""Metadata of Parquet files (docs/reference/score-columns.md)."""


def named_paths(text: str) -> set[str]:
    """Return what is written as code, or linked to, and looks like a path of the project."""
    tokens = re.findall(r"`([\w.*/-]+)`", text)
    found = {t for t in tokens if t.endswith(".py") or (t.partition("/")[0] in TOPS and "/" in t)}
    found |= {t for t in tokens if t.partition("/")[0] in ROOMS and t.endswith("/")}
    return found - set(ELSEWHERE)


def exists(path: str) -> bool:
    """Tell whether there is such a file or folder; a bare name may be anywhere."""
    if "/" not in path:
        return any(next((ROOT / top).rglob(path), None) for top in TOPS)
    return any(next(root.glob(path.rstrip("/")), None) for root in (ROOT, PACKAGE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert {path for path in named_paths(text) if not exists(path)} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    local = {link for link in links if not re.match(r"[a-z]+:", link)}
    assert {link for link in local if not (document.parent / link).exists()} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_that_a_document_names_exists(document: Path) -> None:
    for dotted in re.findall(
        r"`(plmsae(?:\.\w+)+)(?![\w-]*\.L[0-9])", document.read_text(encoding="utf-8")
    ):
        if dotted in FOOTER_KEYS:
            continue
        parts = dotted.split(".")[1:]
        place = PACKAGE
        while parts and (place / parts[0]).is_dir():
            place /= parts.pop(0)
        if parts and (place / f"{parts[0]}.py").is_file():
            place /= f"{parts.pop(0)}.py"
        source = place if place.is_file() else place / "__init__.pyi"
        if place.is_dir() and not source.is_file():
            source = place / "__init__.py"
        assert not parts or parts[0] in source.read_text(encoding="utf-8"), dotted


def test_paths_are_found_and_missing_ones_are_told() -> None:
    text = "`tests/test_layers.py`, `scoring/gone.py`, `topk.py`, `sae/cfg.json`, `sae/importing/`"
    found = named_paths(text)
    assert found == {"tests/test_layers.py", "scoring/gone.py", "topk.py", "sae/importing/"}
    assert {path for path in found if not exists(path)} == {"scoring/gone.py"}
