"""Loss recovered, explained variance and what is left out, on a tiny PLM."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import save_tiny, tiny_masked_lm

from plmsae.encode import Encoder
from plmsae.plm.model import load_plm
from plmsae.proteins.leak import Leak
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae
from plmsae.workflows.evaluating.annotated import Annotated
from plmsae.workflows.evaluating.fidelity import measure_reconstruction
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import EvaluateRequest

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKLMNPQRSTVWY", "MKKLLLAAACCDDE"]
DATA = Annotated(
    accessions=["A", "B", "C"],
    sequences=SEQUENCES,
    labels=None,
    split=np.array(["report", "report", "select"]),
    clusters=np.arange(3),
    how="",
    leak=Leak(n_pairs=0, n_across=0, judge=""),
)


def sae_of(kind="perfect", **changes):
    settings = {"d_in": 16, "d_sae": 32, "k": 32, **changes}
    sae = build_sae(SaeConfig(**settings))
    if kind == "perfect":
        both = torch.cat([torch.eye(16), -torch.eye(16)])
        with torch.no_grad():
            sae.W_enc_FD.copy_(both)
            sae.W_dec_FD.copy_(both)
    return sae


def measured(plm, sae, **changes):
    encoder = Encoder(plm, 2, sae)
    request = EvaluateRequest(model="m", concepts="c", **changes)
    return measure_reconstruction(request, DATA, encoder, encoder.encode(SEQUENCES), Silent())


@pytest.fixture(scope="module")
def plm(tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp("fidelity") / "tiny")
    return load_plm(str(folder), device="cpu", head=True)


def test_a_perfect_sae_recovers_all_of_the_loss(plm):
    found = measured(plm, sae_of())
    for suffix in ("", "_mean", "_unmasked", "_mean_unmasked"):
        assert found.metrics[f"loss_recovered{suffix}"] == pytest.approx(1, abs=1e-4)
    assert found.metrics["kl"] == pytest.approx(0, abs=1e-6)
    assert found.metrics["explained_variance"] == pytest.approx(1, abs=1e-6)
    assert found.metrics["explained_variance_within"] == pytest.approx(1, abs=1e-6)
    assert found.by_residue["explained_variance"].min() > 0.9999
    assert found.by_residue["n_residues"].sum() == sum(map(len, SEQUENCES[:2]))
    assert found.metrics["l0"] == pytest.approx(16)
    assert found.skipped == ()


def test_a_silent_sae_recovers_none_of_it(plm):
    sae = sae_of("random")
    with torch.no_grad():
        sae.W_enc_FD.zero_()
    found = measured(plm, sae)
    assert found.metrics["loss_recovered"] == pytest.approx(0, abs=1e-4)
    assert found.metrics["silent_share"] == 1
    assert found.metrics["l0"] == 0
    assert found.metrics["kl"] > 0


def test_a_sample_of_the_report_proteins_is_enough(plm):
    found = measured(plm, sae_of(), fidelity_proteins=1)
    assert found.n_proteins == 1
    assert found.by_residue["n_residues"].sum() in {len(s) for s in SEQUENCES[:2]}


def test_what_cannot_be_measured_is_left_out_with_its_reason(plm, tmp_path):
    none = measured(plm, sae_of(), fidelity_proteins=0)
    assert set(none.metrics) == {"l0", "dense_share", "silent_share"}
    assert "not asked for" in none.lines()[-1]
    transcoder = measured(plm, sae_of("random", target="change", k=4))
    assert "transcoder" in transcoder.lines()[-1]
    assert "loss_recovered" not in transcoder.metrics
    tiny_masked_lm().esm.save_pretrained(tmp_path / "body")
    body = load_plm(str(tmp_path / "body"), device="cpu", head=True)
    headless = measured(body, sae_of())
    assert headless.metrics["explained_variance"] == pytest.approx(1, abs=1e-6)
    assert "loss_recovered" not in headless.metrics
    assert headless.skipped == ("loss recovered: body has no language-modelling head",)


def test_it_is_told_in_words_and_as_metrics_of_the_report_split(plm):
    found = measured(plm, sae_of())
    text = "\n".join(found.lines())
    for words in ("100.0% of the variance", "masked positions", "mean-ablation", "16.0 latents"):
        assert words in text
    assert found.report_metrics()["report_kl"] == found.metrics["kl"]
    # An imported SAE has no measurements of its own; those of training are not replaced.
    assert found.if_unmeasured({"n_concepts": 3.0}) == found.metrics
    assert found.if_unmeasured({"explained_variance": 0.5}) == {}
    assert found.to_json()["by_residue"][0]["residue"] == "A"
