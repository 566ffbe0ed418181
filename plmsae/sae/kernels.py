"""The exact sparse operations of an SAE: nothing here builds a dense (batch × d_sae) gradient.

Shapes: B rows, D d_in, F latents, K active latents per row, S stored entries. Weights are held
latent-major, (F, D), so that a latent's vector is one contiguous row for the encoder, the decoder
and both gradients alike. One primitive, the weighted bag of rows (`embedding_bag`), decodes and,
over the transposed code, sums the weight gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from plmsae.sae import topk_cpu, topk_cuda
from plmsae.sae.gathered import gathered_dots
from plmsae.sae.sparse_code import SparseCode, row_offsets

# Small enough to stay near the last-level cache between GEMM and selection, large enough that the
# GEMM does not spend its time packing the same weights again for each chunk.
_CPU_CHUNK_BYTES = 24 << 20
_GPU_CHUNK_BYTES = 1 << 30
_GROUP = 16


def select_topk(x_BD: Tensor, W_FD: Tensor, b_F: Tensor, k: int) -> SparseCode:
    """Encode rows and keep the k largest of each, ReLU applied.

    Exact: an entry among the k largest lies in one of the k groups with the largest maxima, so
    only those groups are searched. Ties at the k-th value are broken arbitrarily but repeatably.
    """
    if topk_cpu.are_worthwhile(x_BD, W_FD):
        found = topk_cpu.topk(x_BD, W_FD, b_F, k)
        if found is not None:
            return _with_unsettled(*found, x_BD, W_FD, b_F, k)
    elif topk_cuda.are_worthwhile(x_BD, W_FD):
        screened = topk_cuda.topk(x_BD, W_FD, b_F, k)
        if screened is not None:
            return _settled(screened, x_BD, W_FD, b_F)
    return _select_topk(x_BD, W_FD, b_F, k)


def _with_unsettled(
    code: SparseCode, unsettled_B: Tensor, x_BD: Tensor, W_FD: Tensor, b_F: Tensor, k: int
) -> SparseCode:
    """Add the rows that only float32 can settle."""
    rest = unsettled_B.nonzero().squeeze(1)
    if not rest.numel():
        return code
    others = _select_topk(x_BD[rest], W_FD, b_F, k)
    values_BK = x_BD.new_empty((x_BD.shape[0], k))
    indices_BK = torch.empty((x_BD.shape[0], k), dtype=torch.int64)
    for target, part, rest_part in (
        (values_BK, code.values, others.values),
        (indices_BK, code.indices, others.indices),
    ):
        target[~unsettled_B] = part.view(-1, k)
        target[rest] = rest_part.view(-1, k)
    return SparseCode.from_topk(values_BK, indices_BK)


def _settled(found: topk_cuda.SettledTopk, x_BD: Tensor, W_FD: Tensor, b_F: Tensor) -> SparseCode:
    """Replace, in place, the rows that only float32 can settle."""
    rest = (~found.settled).nonzero().squeeze(1)
    if rest.numel():
        k = found.values.shape[1]
        others = _select_topk(x_BD[rest], W_FD, b_F, k)
        found.values[rest] = others.values.view(-1, k)
        found.indices[rest] = others.indices.view(-1, k)
    return SparseCode.from_topk(found.values, found.indices)


def _select_topk(x_BD: Tensor, W_FD: Tensor, b_F: Tensor, k: int) -> SparseCode:
    n_rows = x_BD.shape[0]
    values_BK = x_BD.new_empty((n_rows, k))
    indices_BK = torch.empty((n_rows, k), dtype=torch.int64, device=x_BD.device)
    for rows, grouped in _preactivations(x_BD, W_FD, b_F):
        _topk_of_groups(grouped, k, values_BK[rows], indices_BK[rows])
    return SparseCode.from_topk(values_BK.relu_(), indices_BK)


def select_above(x_BD: Tensor, W_FD: Tensor, b_F: Tensor, threshold_F: Tensor) -> SparseCode:
    """Encode rows and keep the pre-activations that exceed their latent's threshold (≥ 0).

    Groups whose largest margin over the threshold is not positive are skipped whole.
    """
    if topk_cpu.are_worthwhile(x_BD, W_FD):
        return topk_cpu.above(x_BD, W_FD, b_F, threshold_F)
    if topk_cuda.are_worthwhile(x_BD, W_FD):
        return topk_cuda.above(x_BD, W_FD, b_F, threshold_F)
    width = _group_width(W_FD.shape[0])
    values, indices, hit_rows = [], [], []
    for rows, grouped in _preactivations(x_BD, W_FD, b_F - threshold_F):
        hit_row, hit_group = (grouped.amax(dim=1) > 0).nonzero(as_tuple=True)
        margins = grouped[hit_row, :, hit_group]
        hit, member = (margins > 0).nonzero(as_tuple=True)
        latents = hit_group[hit] + member * width
        values.append(margins[hit, member] + threshold_F[latents])
        indices.append(latents)
        hit_rows.append(hit_row[hit] + rows.start)
    if not values:
        none = torch.zeros(1, dtype=torch.int64, device=x_BD.device)
        return SparseCode(x_BD.new_empty(0), none[:0], none)
    offsets = row_offsets(torch.cat(hit_rows), x_BD.shape[0])
    return SparseCode(torch.cat(values), torch.cat(indices), offsets)


def select_batch_topk(
    x_BD: Tensor, W_FD: Tensor, b_F: Tensor, k: int, guess: float | None
) -> tuple[SparseCode, Tensor]:
    """Encode rows and keep the B·k largest positive pre-activations of the whole batch.

    Entries above a guessed threshold are gathered; if they are at least B·k, the B·k largest of
    the batch are among them and selection is exact. If not, the guess is lowered until they are.

    Parameters
    ----------
    x_BD, W_FD, b_F : Tensor
        Centred input, encoder weights and bias.
    k : int
        Active latents per row on average (BatchTopK, Bussmann, Leask & Nanda 2024).
    guess : float, optional
        A threshold near the one expected (the last batch's, say); None if nothing is known.

    Returns
    -------
    code : SparseCode
        B·k entries, or fewer if fewer pre-activations are positive.
    threshold : Tensor, shape ()
        The smallest value kept; 0 if nothing is positive.
    """
    target = x_BD.shape[0] * k
    if guess is None:
        guess = _guess_threshold(x_BD, W_FD, b_F, k)
    while True:
        floor_F = torch.full_like(b_F, guess)
        code = select_above(x_BD, W_FD, b_F, floor_F)
        found = int(code.values.numel())
        if found >= target or guess == 0:
            break
        # Far too few means the guess was of another time: do not creep down to the right one.
        guess = 0.8 * guess if found > target // 2 else 0.4 * guess
        guess = 0.0 if guess < 1e-6 else guess
    if found > target:
        code = _largest(code, target)
    return code, code.values.min() if code.values.numel() else x_BD.new_zeros(())


def decode(code: SparseCode, W_FD: Tensor) -> Tensor:
    """Return the (B, D) sums of the active latents' rows of `W_FD`, weighted by their values."""
    return _weighted_bags(code.indices, code.offsets, code.values, W_FD)


def value_gradients(code: SparseCode, rows_S: Tensor, grad_BD: Tensor, W_FD: Tensor) -> Tensor:
    """Return, for each entry, the dot product of its row of `grad_BD` and its latent's vector."""
    return gathered_dots(code.indices, code.offsets, rows_S, grad_BD, W_FD)


class Transposed(NamedTuple):
    """The entries of a code in the order of their latents (rows ascending within one)."""

    order: Tensor
    """Position in the code of each entry, int64, shape (S,)."""
    rows: Tensor
    """Row of each entry, int64, shape (S,)."""
    offsets: Tensor
    """Where each latent begins, int64, shape (F + 1,)."""

    def sum_rows(self, weights_S: Tensor, rows_BD: Tensor) -> Tensor:
        """Return, for each latent, the sum of `rows_BD` over its entries, weighted: (F, D).

        `weights_S` is in the order of the code. This is codeᵀ @ rows, in a fixed order of addition.

        On a GPU too this is one pass without atomics, and so the same at every run. What it is not
        is balanced: one thread adds a column of one latent, so a latent active in every row is as
        many additions in a row. Both weight gradients could share a kernel, but not the rows they
        read, which fit its cache one at a time.
        """
        return _weighted_bags(self.rows, self.offsets, weights_S[self.order], rows_BD)

    def sum_weights(self, weights_S: Tensor) -> Tensor:
        """Return, for each latent, the sum of `weights_S` over its entries: (F,)."""
        n_latents = self.offsets.numel() - 1
        ordered = weights_S[self.order]
        if not ordered.numel():
            return weights_S.new_zeros(n_latents)
        sums: Tensor = torch.segment_reduce(
            ordered, "sum", lengths=self.offsets.diff(), unsafe=True, initial=0
        )
        return sums.view(n_latents)


def transpose(code: SparseCode, rows_S: Tensor, d_sae: int) -> Transposed:
    """Order the entries of `code` by latent, then row."""
    if code.indices.device.type == "cpu":
        # scipy's counting pass takes a fraction of a millisecond where torch.sort takes a hundred.
        n = int(code.indices.numel())
        positions = csr_array(
            (
                np.arange(n, dtype=np.int64),
                code.indices.numpy().astype(np.int32),
                code.offsets.numpy().astype(np.int32),
            ),
            shape=(code.n_rows, d_sae),
        ).tocsc()
        order_S = torch.from_numpy(positions.data)
        rows = torch.from_numpy(positions.indices.astype(np.int64))
        return Transposed(order_S, rows, torch.from_numpy(positions.indptr.astype(np.int64)))
    ordered, order_S = torch.sort(code.indices.int(), stable=True)
    return Transposed(order_S, rows_S[order_S], row_offsets(ordered, d_sae))


def _weighted_bags(members_S: Tensor, offsets: Tensor, weights_S: Tensor, rows: Tensor) -> Tensor:
    return torch.nn.functional.embedding_bag(
        members_S, rows, offsets, mode="sum", per_sample_weights=weights_S, include_last_offset=True
    )


def _group_width(d_sae: int) -> int:
    return -(-d_sae // _GROUP)


def _preactivations(x_BD: Tensor, W_FD: Tensor, b_F: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield row ranges and their pre-activations as (R, group member, group); the buffer is reused.

    Latent f is member f // width of group f % width, so that the maximum over a group reads
    memory in order. The last group members are padded with -inf.
    """
    d_sae = W_FD.shape[0]
    width = _group_width(d_sae)
    budget = _CPU_CHUNK_BYTES if x_BD.device.type == "cpu" else _GPU_CHUNK_BYTES
    chunk = max(16, budget // (width * _GROUP * x_BD.element_size()))
    n_rows = x_BD.shape[0]
    buffer = x_BD.new_full((min(chunk, n_rows), width * _GROUP), -torch.inf)
    for start in range(0, n_rows, chunk):
        rows = slice(start, min(start + chunk, n_rows))
        part = buffer[: rows.stop - start]
        torch.addmm(b_F, x_BD[rows], W_FD.t(), out=part[:, :d_sae])
        yield rows, part.view(-1, _GROUP, width)


def _topk_of_groups(grouped: Tensor, k: int, values_out: Tensor, indices_out: Tensor) -> None:
    n_rows, _, width = grouped.shape
    if width < 2 * k:
        flat = grouped.view(n_rows, -1)
        torch.topk(flat, k, dim=1, sorted=False, out=(values_out, indices_out))
        return
    best_groups = grouped.amax(dim=1).topk(k, dim=1, sorted=False).indices
    members = torch.arange(0, width * _GROUP, width, device=grouped.device)
    searched = (best_groups.unsqueeze(2) + members).view(n_rows, -1)
    found, places = grouped.view(n_rows, -1).gather(1, searched).topk(k, dim=1, sorted=False)
    values_out.copy_(found)
    torch.gather(searched, 1, places, out=indices_out)


def _guess_threshold(x_BD: Tensor, W_FD: Tensor, b_F: Tensor, k: int) -> float:
    """Return a low estimate of the batch's threshold from a few rows spread over it."""
    sample = x_BD[:: max(1, x_BD.shape[0] // 64)]
    positive = torch.addmm(b_F, sample, W_FD.t()).relu_().flatten()
    kept = min(sample.shape[0] * k, positive.numel())
    return 0.8 * float(positive.topk(kept).values[-1])


def _nth_smallest(values_S: Tensor, n: int) -> Tensor:
    """Return the value with n smaller ones before it."""
    if values_S.device.type == "cpu":
        # numpy's partial sort takes a tenth of the time of torch's.
        return torch.from_numpy(np.partition(values_S.numpy(), n)[n : n + 1])[0]
    # On a GPU a whole sort uses all of it; torch.kthvalue would use one block of threads.
    return values_S.sort().values[n]


def _largest(code: SparseCode, n: int) -> SparseCode:
    """Keep the n largest entries; of those equal to the smallest kept, the first ones."""
    smallest = _nth_smallest(code.values, code.values.numel() - n)
    above, tied = code.values > smallest, code.values == smallest
    room = n - above.sum()
    # How many there are is known: nobody waits for the device to count them.
    kept = torch.nonzero_static(above | (tied & (tied.cumsum(0) <= room)), size=n).squeeze(1)
    offsets = row_offsets(code.rows()[kept], code.n_rows)
    return SparseCode(code.values[kept], code.indices[kept], offsets)
