from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from plmsae.core.errors import InputError, QualityError
from plmsae.core.settings import make_settings
from plmsae.plm.corpus import open_corpus
from plmsae.plm.model import load_plm
from plmsae.plm.sampling import cluster_weights
from plmsae.proteins.clusters import read_clusters
from plmsae.workflows import pretrain
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import PretrainRequest

LETTERS = list("ACDEFGHIKLMNPQRSTVWY")


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)


def write_fasta(path: Path, count: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    path.write_text(
        "".join(
            f">{path.stem}{i}\n{''.join(rng.choice(LETTERS, size=rng.integers(60, 90)))}\n"
            for i in range(count)
        )
    )
    return path


def request(tmp_path: Path, **changes) -> PretrainRequest:
    settings = {
        "proteins": (str(tmp_path / "p.fasta"),),
        "out": tmp_path / "run",
        "held_out": (str(tmp_path / "held.fasta"),),
        "n_layers": 1,
        "d_model": 16,
        "n_heads": 2,
        "row": 64,
        "tokens_per_step": 256,
        "steps": 6,
        "simulated_share": 0.25,
        "device": "cpu",
    }
    return make_settings(PretrainRequest, settings | changes)


@pytest.fixture
def files(tmp_path):
    write_fasta(tmp_path / "p.fasta", 40, 0)
    write_fasta(tmp_path / "held.fasta", 8, 1)
    lines = ["a\tp0", "a\tp1", *(f"p{i}\tp{i}" for i in range(2, 39))]
    (tmp_path / "clusters.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_plm_of_ones_own_is_trained_stopped_resumed_and_opened(files):
    stopped = pretrain.run(request(files, max_minutes=0.0), Silent())
    assert (stopped.steps, stopped.finished) == (1, False)
    outcome = pretrain.run(request(files), Silent())
    assert (outcome.steps, outcome.finished) == (6, True)
    once = pretrain.run(request(files, out=files / "once"), Silent())
    assert (outcome.folder / "model.safetensors").read_bytes() == (
        once.folder / "model.safetensors"
    ).read_bytes()
    assert set(outcome.perplexity) == {"held"}
    assert all(5 < value < 60 for value in outcome.perplexity["held"].values())
    assert load_plm(str(outcome.folder)).n_layers == 1
    card = (outcome.folder / "README.md").read_text()
    assert "p.fasta | 40 |" in card
    assert "drawn by how rare their 7-mers are" in card


def test_simulated_residues_weigh_as_much_as_the_average_real_one(files):
    pretrain.run(request(files, clusters=files / "clusters.tsv", steps=1), Silent())
    corpus = open_corpus(files / "run" / "corpus")
    lengths = np.diff(corpus.offsets)
    real, simulated = slice(0, 40), slice(40, None)
    drawn = corpus.weights * lengths
    assert lengths[simulated].sum() >= lengths[real].sum() / 3
    share_of_draws = drawn[simulated].sum() / drawn.sum()
    assert share_of_draws == pytest.approx(lengths[simulated].sum() / lengths.sum())


def test_relatives_are_drawn_more_often_than_proteins_without_any(files):
    said: list[str] = []

    class Heard(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    outcome = pretrain.run(request(files, clusters=files / "clusters.tsv", steps=1), Heard())
    weights = open_corpus(files / "run" / "corpus").weights
    assert list(weights[:4]) == [1.0, 1.0, 0.15, 0.15]
    assert weights[39] == 0.15
    assert any(re.match(r"1 proteins? (is|are) in no cluster .*p39", line) for line in said)
    assert "homology cluster" in (outcome.folder / "README.md").read_text()
    made_of = json.loads((files / "run" / "corpus" / "made_of.json").read_text())
    assert re.fullmatch("[0-9a-f]{64}", made_of["clusters"])


def test_every_file_is_checked_once_and_genes_are_refused(files):
    write_fasta(files / "q.fasta", 40, 2)
    both = (str(files / "p.fasta"), str(files / "q.fasta"))
    pretrain.run(request(files, proteins=both, max_minutes=0.0), Silent())
    pages = [files / "run" / f"quality-proteins_{n}" / "summary.html" for n in (1, 2)]
    assert ["q.fasta" in page.read_text() for page in pages] == [False, True]
    written = [page.stat().st_mtime_ns for page in pages]
    pretrain.run(request(files, proteins=both), Silent())  # goes on
    assert [page.stat().st_mtime_ns for page in pages] == written
    (files / "genes.fasta").write_text("".join(f">g{i}\n{'ACGT' * 20}\n" for i in range(20)))
    with pytest.raises(QualityError, match="share_like_nucleotides"):
        pretrain.run(
            request(files, proteins=(str(files / "genes.fasta"),), out=files / "n"), Silent()
        )
    assert not (files / "n" / "corpus").exists()


def test_a_cluster_never_weighs_more_than_a_large_one():
    weights = cluster_weights(["big"] * 64 + ["pair"] * 2 + ["one"], alone=0.2, large=32)
    assert weights[:64].sum() == pytest.approx(32)
    assert list(weights[64:]) == [1.0, 1.0, 0.2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"clusters.tsv: .*empty"),
        ("a p1\n", r"clusters.tsv.*line 1.*a tab"),
        ("a\tp1\nb\tp1\n", r"clusters.tsv.*line 2.*two clusters.*p1"),
        ("a\tother\n", r"clusters.tsv.*none of the proteins"),
    ],
)
def test_a_table_of_clusters_that_does_not_fit_is_one_clear_line(files, text, message):
    path = files / "clusters.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        pretrain.run(request(files, clusters=path), Silent())
    assert "\n" not in str(caught.value)
    assert not (files / "run" / "corpus").exists()


def test_a_missing_table_of_clusters_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.tsv"):
        read_clusters(tmp_path / "nowhere.tsv")
