"""The definition of the metrics."""

from __future__ import annotations

import pytest
import torch

from plmsae.core.errors import InputError
from plmsae.sae.config import SaeConfig
from plmsae.sae.evaluate import evaluate_sae
from plmsae.sae.model import Sae, build_sae


def random_sae() -> Sae:
    sae = build_sae(SaeConfig(d_in=5, d_sae=30, k=3), seed=3)
    with torch.no_grad():
        sae.b_dec_D.fill_(100.0)
    return sae


def rows() -> torch.Tensor:
    return torch.randn(90, 5, generator=torch.Generator().manual_seed(1)) + 100


def test_fvu_is_global_and_about_the_mean_of_all_rows() -> None:
    sae, x = random_sae(), rows()
    error = (x - sae.reconstruct(x)).double().square().sum()
    variance = (x.double() - x.double().mean(dim=0)).square().sum()
    # Chunks of different means, so that a mean of chunk FVUs, or about chunk means, would differ.
    x = x[x[:, 0].argsort()]
    found = evaluate_sae(sae, x.split([10, 50, 30]))
    assert found["fvu"] == pytest.approx(float(error / variance), rel=1e-6)
    assert found["explained_variance"] == pytest.approx(1 - found["fvu"])
    assert found["n_vectors"] == 90


def test_always_answering_the_mean_has_an_fvu_of_one() -> None:
    sae, x = random_sae(), rows()
    with torch.no_grad():
        sae.b_enc_F.fill_(-1e6)
        sae.b_dec_D.copy_(x.mean(dim=0))
    found = evaluate_sae(sae, [x])
    assert found["fvu"] == pytest.approx(1, rel=1e-5)
    assert found["l0"] == 0
    assert found["dead_share"] == 1


def test_l0_and_dead_share_count_positive_latents() -> None:
    sae, x = random_sae(), rows()
    code = sae.encode_csr(x)
    found = evaluate_sae(sae, [x])
    assert found["l0"] == pytest.approx(code.nnz / 90)
    assert found["dead_share"] == pytest.approx(1 - len(set(code.indices)) / 30)


def test_gamma_is_the_norm_of_the_mean_over_the_norm_of_the_std() -> None:
    x = rows().double()
    expected = x.mean(dim=0).norm() / x.var(dim=0, correction=0).sum().sqrt()
    assert evaluate_sae(random_sae(), [rows()])["gamma"] == pytest.approx(float(expected))


def test_nothing_to_evaluate_on_is_an_error() -> None:
    with pytest.raises(InputError, match="no activations"):
        evaluate_sae(random_sae(), [])
    with pytest.raises(InputError, match="all equal"):
        evaluate_sae(random_sae(), [torch.ones(4, 5)])
