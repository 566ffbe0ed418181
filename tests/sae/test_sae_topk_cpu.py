"""Selection by bfloat16 candidates equals selection in float32, whatever the data."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plmsae.sae import kernels, topk_cpu
from plmsae.sae.sparse_code import SparseCode


@pytest.fixture(autouse=True)
def _small_problems_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk_cpu, "_HAS_BFLOAT16", True)
    monkeypatch.setattr(topk_cpu, "_LARGE", 0)


def problem(seed: int, n: int = 40, d: int = 24, f: int = 600) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x, W, b = (torch.randn(size, generator=g) for size in ((n, d), (f, d), (f,)))
    return x, W, 0.2 * b


def dense(code: SparseCode, d_sae: int) -> Tensor:
    return torch.from_numpy(code.to_csr(d_sae).toarray())


def assert_same_topk(x: Tensor, W: Tensor, b: Tensor, k: int) -> None:
    code = kernels.select_topk(x, W, b, k)
    z = torch.relu(x.double() @ W.double().t() + b.double())
    best = z.topk(k, dim=1)
    expected = torch.zeros_like(z).scatter(1, best.indices, best.values)
    scale = float(z.max()) + 1e-30
    assert torch.allclose(dense(code, W.shape[0]).double(), expected, atol=1e-5 * scale)
    assert code.offsets.tolist() == list(range(0, x.shape[0] * k + 1, k))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    n=st.integers(1, 50),
    f=st.integers(300, 700),
    k=st.integers(1, 9),
    size=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_topk_keeps_what_float64_keeps(seed: int, n: int, f: int, k: int, size: float) -> None:
    x, W, b = problem(seed, n=n, f=f)
    assert topk_cpu.topk(size * x, W, size * b, k) is not None
    assert_same_topk(size * x, W, size * b, k)


@pytest.mark.parametrize("offset", [0.0, 3.0, 100.0])
def test_topk_is_exact_for_rows_far_from_the_origin(offset: float) -> None:
    x, W, b = problem(3)
    mean = torch.full((24,), offset)
    assert_same_topk(x + mean, W, b - W @ mean, 8)


def test_topk_is_exact_where_latents_differ_by_less_than_bfloat16_can_tell() -> None:
    x, W, b = problem(4)
    near = W[:1] + 1e-4 * torch.randn(600, 24, generator=torch.Generator().manual_seed(0))
    assert_same_topk(x, near, torch.zeros(600), 8)
    half = torch.cat((near[:30], W[30:]))
    assert_same_topk(x, half, b, 8)


def test_rows_without_enough_positive_latents_are_left_to_float32() -> None:
    x, W, b = problem(5)
    x[::3] = 0
    b = b - 4
    found = topk_cpu.topk(x, W, b, 8)
    assert found is not None
    assert bool(found[1][::3].all())
    assert not bool(found[1].all())
    assert_same_topk(x, W, b, 8)


def test_a_huge_latent_or_row_does_not_spoil_the_others() -> None:
    x, W, b = problem(6)
    W[7] *= 300
    x[5] *= 300
    assert_same_topk(x, W, b, 8)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), f=st.integers(1, 500), level=st.floats(0, 9))
def test_above_keeps_what_exceeds_its_threshold(seed: int, f: int, level: float) -> None:
    x, W, b = problem(seed, f=f)
    threshold = torch.rand(f, generator=torch.Generator().manual_seed(seed)) * level
    threshold[f // 2] = 1e6
    z = x @ W.t() + b
    expected = torch.where(z > threshold, z, torch.zeros(()))
    assert torch.allclose(dense(kernels.select_above(x, W, b, threshold), f), expected, atol=1e-4)


@pytest.mark.parametrize("guess", [None, 0.0, 2.0, 100.0])
def test_batch_topk_is_exact(guess: float | None) -> None:
    x, W, b = problem(8)
    code, _ = kernels.select_batch_topk(x, W, b, 5, guess)
    z = torch.relu(x @ W.t() + b)
    best = z.flatten().topk(200)
    expected = torch.zeros_like(z).flatten().scatter(0, best.indices, best.values).view_as(z)
    assert torch.allclose(dense(code, 600), expected, atol=1e-4)


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    x, W, b = problem(9, n=100)
    whole = kernels.select_topk(x, W, b, 6)
    monkeypatch.setattr(topk_cpu, "_CHUNK_BYTES", 1)
    chunked = kernels.select_topk(x, W, b, 6)
    assert torch.equal(whole.indices, chunked.indices)


def test_the_bound_holds() -> None:
    x, W, _ = problem(10, n=200)
    exact = x.double() @ W.double().t()
    rounded = x.bfloat16().double() @ W.bfloat16().double().t()
    error = (exact - rounded).abs().amax(dim=1)
    bound = topk_cpu._error_bounds(x, W)
    assert (error <= bound).all()
    assert bound.mean() < 0.05 * exact.std()


def test_no_rows_select_nothing() -> None:
    _, W, b = problem(11)
    code = kernels.select_above(torch.empty(0, 24), W, b, torch.zeros(600))
    assert code.n_rows == 0
    assert kernels.select_topk(torch.empty(0, 24), W, b, 3).n_rows == 0
