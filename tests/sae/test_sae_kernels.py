"""Each kernel against the slow, obvious way."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plmsae.sae import kernels
from plmsae.sae.sparse_code import SparseCode


def problem(seed: int, n: int = 40, d: int = 6, f: int = 50) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, d, generator=g),
        torch.randn(f, d, generator=g),
        torch.randn(f, generator=g),
    )


def dense(code: SparseCode, d_sae: int) -> Tensor:
    out = torch.zeros(code.n_rows, d_sae)
    for row in range(code.n_rows):
        for entry in range(int(code.offsets[row]), int(code.offsets[row + 1])):
            out[row, code.indices[entry]] += code.values[entry]
    return out


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), n=st.integers(1, 70), f=st.integers(1, 200), share=st.floats(0, 1))
def test_topk_keeps_what_a_full_sort_keeps(seed: int, n: int, f: int, share: float) -> None:
    x, W, b = problem(seed, n=n, f=f)
    k = max(1, round(share * f))
    z = torch.relu(x @ W.t() + b)
    order = z.sort(dim=1, descending=True)
    expected = torch.zeros_like(z).scatter(1, order.indices[:, :k], order.values[:, :k])
    assert torch.allclose(dense(kernels.select_topk(x, W, b, k), f), expected, atol=1e-5)


def test_topk_over_several_chunks_equals_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    x, W, b = problem(3, n=100, f=300)
    whole = dense(kernels.select_topk(x, W, b, 5), 300)
    monkeypatch.setattr(kernels, "_CPU_CHUNK_BYTES", 1)
    assert torch.allclose(dense(kernels.select_topk(x, W, b, 5), 300), whole, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), f=st.integers(1, 120), level=st.floats(0, 8))
def test_above_keeps_exactly_what_exceeds_its_threshold(seed: int, f: int, level: float) -> None:
    x, W, b = problem(seed, f=f)
    threshold = torch.rand(f, generator=torch.Generator().manual_seed(seed)) * level
    z = x @ W.t() + b
    expected = torch.where(z > threshold, z, torch.zeros(()))
    assert torch.allclose(dense(kernels.select_above(x, W, b, threshold), f), expected, atol=1e-5)


@pytest.mark.parametrize("guess", [None, 0.0, 0.01, 2.0, 100.0])
@pytest.mark.parametrize("k", [1, 4, 20])
def test_batch_topk_is_exact_whatever_the_guess(guess: float | None, k: int) -> None:
    x, W, b = problem(5)
    code, smallest = kernels.select_batch_topk(x, W, b, k, guess)
    z = torch.relu(x @ W.t() + b)
    best = z.flatten().topk(40 * k)
    expected = torch.zeros_like(z).flatten().scatter(0, best.indices, best.values).view_as(z)
    assert torch.allclose(dense(code, 50), expected, atol=1e-5)
    assert code.values.numel() == 40 * k
    assert smallest == pytest.approx(float(best.values[-1]), rel=1e-5)


def test_batch_topk_breaks_ties_to_keep_exactly_the_number_asked_for() -> None:
    x, W, b = torch.ones(8, 3), torch.ones(20, 3), torch.zeros(20)
    code, smallest = kernels.select_batch_topk(x, W, b, 2, None)
    assert code.values.numel() == 16
    assert smallest == 3


def test_batch_topk_keeps_all_where_too_few_are_positive() -> None:
    x, W, _ = problem(7)
    b = torch.full((50,), -1e3)
    b[3] = 1e3
    code, _ = kernels.select_batch_topk(x, W, b, 4, None)
    assert code.values.numel() == 40
    assert set(code.indices.tolist()) == {3}


def test_nothing_above_gives_an_empty_code_that_decodes_to_zero() -> None:
    x, W, b = problem(1)
    code = kernels.select_above(x, W, b, torch.full((50,), 1e6))
    assert code.values.numel() == 0
    assert torch.equal(kernels.decode(code, W), torch.zeros(40, 6))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), k=st.integers(1, 20))
def test_sparse_products_equal_dense_ones(seed: int, k: int) -> None:
    x, W, b = problem(seed)
    code, _ = kernels.select_batch_topk(x, W, b, k, None)
    z = dense(code, 50)
    rows = code.rows()
    assert torch.allclose(kernels.decode(code, W), z @ W, atol=1e-4)
    grad = torch.randn(40, 6, generator=torch.Generator().manual_seed(seed))
    values = kernels.value_gradients(code, rows, grad, W)
    assert torch.allclose(values, (grad @ W.t())[rows, code.indices], atol=1e-4)
    by_latent = kernels.transpose(code, rows, 50)
    assert torch.allclose(by_latent.sum_rows(code.values, x), z.t() @ x, atol=1e-4)
    assert torch.allclose(by_latent.sum_weights(code.values), z.sum(dim=0), atol=1e-4)


def test_the_transposed_order_is_by_latent_then_row() -> None:
    x, W, b = problem(2)
    code = kernels.select_topk(x, W, b, 7)
    rows = code.rows()
    by_latent = kernels.transpose(code, rows, 50)
    pairs = list(zip(code.indices.tolist(), rows.tolist(), strict=True))
    assert [pairs[i] for i in by_latent.order.tolist()] == sorted(pairs)


def test_a_csr_has_sorted_indices_and_no_zeros() -> None:
    x, W, _ = problem(4)
    code = kernels.select_topk(x, W, torch.full((50,), -4.0), 10)
    assert (code.values == 0).any()
    csr = code.to_csr(50)
    assert csr.has_sorted_indices
    assert (csr.data > 0).all()
    assert csr.dtype == "float32"
    assert torch.equal(torch.from_numpy(csr.toarray()), dense(code, 50))
