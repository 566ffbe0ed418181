"""Selection by float16 screening equals selection in float32, whatever the data.

On the CPU the same code runs that a GPU runs; only the product's own arithmetic differs.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from plmsae.sae import kernels, topk_cpu, topk_cuda
from plmsae.sae.sparse_code import SparseCode

examples = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def _on_this_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk_cpu, "_HAS_BFLOAT16", False)
    monkeypatch.setattr(topk_cuda, "_DEVICE", device)
    monkeypatch.setattr(topk_cuda, "_LARGE", 0)


def problem(seed: int, n: int = 40, d: int = 24, f: int = 1500) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x, W, b = (torch.randn(size, generator=g) for size in ((n, d), (f, d), (f,)))
    return x, W, 0.2 * b


def dense(code: SparseCode, d_sae: int) -> Tensor:
    return torch.from_numpy(code.to_csr(d_sae).toarray())


def products(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return x.double() @ W.double().t() + b.double()


def assert_same_topk(device: str, x: Tensor, W: Tensor, b: Tensor, k: int) -> float:
    """Compare with float64; return the share of rows that were settled."""
    on_device = (x.to(device), W.to(device), b.to(device))
    found = topk_cuda.topk(*on_device, k)
    assert found is not None
    code = kernels.select_topk(*on_device, k)
    z = torch.relu(products(x, W, b))
    best = z.topk(k, dim=1)
    # Each row by its own measure: rows may differ by orders of magnitude.
    scale = x.double().norm(dim=1) * W.double().norm(dim=1).max() + b[b.isfinite()].abs().max()
    ours = dense(code, W.shape[0]).double()
    assert code.offsets.tolist() == list(range(0, x.shape[0] * k + 1, k))
    indices = code.indices.view(-1, k).sort(dim=1).values
    assert (indices.diff(dim=1) > 0).all(), "a latent comes twice"
    # The values are the largest, and each is that of its latent: ties may go to any of them.
    slack = (2e-6 * scale).unsqueeze(1)
    assert ((ours.topk(k, dim=1).values - best.values).abs() <= slack).all()
    assert ((ours - z).abs() <= slack)[ours > 0].all()
    return float(found.settled.float().mean())


@examples
@given(
    seed=st.integers(0, 99),
    n=st.integers(1, 50),
    f=st.integers(1200, 1700),
    k=st.integers(1, 9),
    size=st.sampled_from([1e-12, 1e-3, 1.0, 1e4, 1e15]),
)
def test_topk_keeps_what_float64_keeps(
    device: str, seed: int, n: int, f: int, k: int, size: float
) -> None:
    x, W, b = problem(seed, n=n, f=f)
    assert assert_same_topk(device, size * x, W, size * b, k) > 0.9


@pytest.mark.parametrize("offset", [0.0, 3.0, 100.0, 1e4])
def test_topk_is_exact_for_rows_far_from_the_origin(device: str, offset: float) -> None:
    # The offset cancels against the bias: γ = ‖mean‖/‖std‖ is the offset itself.
    x, W, b = problem(3)
    mean = torch.full((24,), offset)
    assert_same_topk(device, x + mean, W, b - W @ mean, 8)


def test_topk_is_exact_where_latents_differ_by_less_than_float16_can_tell(device: str) -> None:
    x, W, b = problem(4)
    near = W[:1] + 1e-5 * torch.randn(W.shape, generator=torch.Generator().manual_seed(0))
    assert_same_topk(device, x, near, torch.zeros(len(W)), 8)
    half = torch.cat((near[:100], W[100:]))
    assert_same_topk(device, x, half, b, 8)


def test_ties_are_broken_without_taking_a_latent_twice(device: str) -> None:
    x, W, _ = problem(5)
    W[::2] = W[0]
    assert_same_topk(device, x, W, torch.zeros(len(W)), 8)
    assert_same_topk(device, torch.zeros_like(x), W, torch.zeros(len(W)), 8)
    assert_same_topk(device, torch.ones(4, 24), torch.ones(1500, 24), torch.zeros(1500), 8)


def test_rows_without_enough_positive_latents_are_settled_all_the_same(device: str) -> None:
    x, W, b = problem(6)
    b = b - 17
    positive = (products(x, W, b) > 0).sum(dim=1)
    assert (positive < 8).any()
    assert (positive > 0).any()
    assert assert_same_topk(device, x, W, b, 8) == 1
    assert assert_same_topk(device, x, W, b - 100, 8) == 1


def test_latents_and_rows_of_any_size_leave_the_others_exact(device: str) -> None:
    x, W, b = problem(7)
    W[7] *= 300
    x[5] *= 3e4
    x[6] *= 1e-6
    x[8] = 0
    W[9] = 0
    b[11] = -torch.inf
    assert_same_topk(device, x, W, b, 8)


def test_what_is_not_a_number_is_settled_nowhere_and_leaves_other_rows_alone(device: str) -> None:
    x, W, b = problem(8)
    spoilt = x.clone()
    spoilt[3, 5], spoilt[4, 2] = torch.nan, torch.inf
    others = [i for i in range(40) if i not in (3, 4)]
    on_device = spoilt.to(device), W.to(device), b.to(device)
    found = topk_cuda.topk(*on_device, 8)
    assert found is not None
    assert found.settled.nonzero().flatten().tolist() == others
    code = kernels.select_above(*on_device, torch.ones(1500, device=device))
    expected = torch.where(products(x, W, b) > 1, products(x, W, b), 0.0).float()
    assert torch.allclose(dense(code, 1500)[others], expected[others], atol=1e-4)


@pytest.mark.parametrize("k", [20, 700, 1500])
def test_a_k_near_the_number_of_latents_is_left_to_float32(device: str, k: int) -> None:
    x, W, b = (t.to(device) for t in problem(9))
    assert topk_cuda.topk(x, W, b, k) is None
    z = torch.relu(x @ W.t() + b)
    best = z.topk(k, dim=1)
    expected = torch.zeros_like(z).scatter(1, best.indices, best.values).cpu()
    assert torch.allclose(dense(kernels.select_topk(x, W, b, k), 1500), expected, atol=1e-4)


@examples
@given(
    seed=st.integers(0, 99),
    f=st.integers(1, 500),
    level=st.floats(0, 9),
    size=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_above_keeps_what_exceeds_its_threshold(
    device: str, seed: int, f: int, level: float, size: float
) -> None:
    x, W, b = problem(seed, f=f)
    threshold = torch.rand(f, generator=torch.Generator().manual_seed(seed)) * level
    threshold[f // 2] = 1e6
    code = kernels.select_above(
        (size * x).to(device), W.to(device), (size * b).to(device), (size * threshold).to(device)
    )
    z = products(x, W, b)
    expected = torch.where(z > threshold, z, 0.0)
    # What lies within rounding of its threshold may fall on either side.
    sure = (z - threshold).abs() > 1e-5
    found = dense(code, f).double() / size
    assert torch.allclose(found[sure], expected[sure], atol=1e-4)
    assert (code.rows().diff() >= 0).all()


def test_above_takes_infinite_thresholds_and_biases(device: str) -> None:
    x, W, b = problem(10)
    b[3] = -torch.inf
    threshold = torch.full((1500,), 0.5)
    threshold[::2] = torch.inf
    z = products(x, W, b)
    code = kernels.select_above(*(t.to(device) for t in (x, W, b, threshold)))
    expected = torch.where(z > threshold, z, 0.0).float()
    assert torch.allclose(dense(code, 1500), expected, atol=1e-4)


@pytest.mark.parametrize("guess", [None, 0.0, 2.0, 100.0])
def test_batch_topk_is_exact(device: str, guess: float | None) -> None:
    x, W, b = problem(11)
    code, smallest = kernels.select_batch_topk(x.to(device), W.to(device), b.to(device), 5, guess)
    z = torch.relu(products(x, W, b)).float()
    best = z.flatten().topk(200)
    expected = torch.zeros_like(z).flatten().scatter(0, best.indices, best.values).view_as(z)
    assert torch.allclose(dense(code, 1500), expected, atol=1e-4)
    assert float(smallest) == pytest.approx(float(best.values[-1]), rel=1e-5)


@pytest.mark.parametrize("rows", [1, 16, 17, 33, 100])
def test_chunks_do_not_show(device: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, W, b = (t.to(device) for t in problem(12, n=rows))
    threshold = torch.full_like(b, 3.0)
    whole = kernels.select_topk(x, W, b, 6), kernels.select_above(x, W, b, threshold)
    monkeypatch.setattr(topk_cuda, "_CHUNK_BYTES", 1)
    chunked = kernels.select_topk(x, W, b, 6), kernels.select_above(x, W, b, threshold)
    for one, other in zip(whole, chunked, strict=True):
        assert torch.equal(one.offsets, other.offsets)
        assert torch.allclose(dense(one, 1500), dense(other, 1500), atol=1e-5)


@pytest.mark.parametrize("d", [24, 320, 1280])
@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_the_bound_holds_and_is_tight_enough_to_be_of_use(
    device: str, d: int, offset: float
) -> None:
    x, W, b = problem(13, n=64, d=d, f=1024)
    x, W, b = ((t).to(device) for t in (x + offset, W / d**0.5, b))
    screen = topk_cuda._Screen.of(x, W, b)
    scale = screen.scale_x.double() * _scale_w(W)
    z = products(x, W, b) * scale
    error = []
    for rows, grouped in screen.chunks(x):
        a = grouped.flatten(1).double()
        error.append(((a - z[rows]).abs() - a.abs() * (2.0**-11 * 1.01)).amax(dim=1))
    assert (torch.cat(error) <= screen.error_B.double()).all()
    assert float(screen.error_B.mean()) < 0.15 * float(z.std()) * (1 + offset)


def _scale_w(W: Tensor) -> Tensor:
    return torch.exp2(torch.floor(torch.log2(2.0**6 / W.double().norm(dim=1).max())))


def test_no_rows_select_nothing(device: str) -> None:
    _, W, b = (t.to(device) for t in problem(14))
    none = torch.empty(0, 24, device=device)
    assert topk_cuda.above(none, W, b, torch.zeros_like(b)).n_rows == 0
    found = topk_cuda.topk(none, W, b, 3)
    assert found is not None
    assert found.values.shape == (0, 3)


def test_reduced_precision_is_kept_out_of_sums(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, W, _ = (t.to(device) for t in problem(15))
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = True
    assert topk_cuda.are_worthwhile(x, W)
    assert not torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert not topk_cuda.are_worthwhile(x, W)
