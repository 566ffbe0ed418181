"""Exact selection on a GPU: half precision finds candidates, float32 decides among them.

Tensor cores multiply float16 with an order of magnitude more throughput than float32. As in
`topk_cpu`, whatever float32 would select lies above a threshold lowered by a bound on the error
of the fast product, so nothing can be lost. What differs is what suits a GPU:

- float16 instead of bfloat16: as fast, and its 11 significant bits make the bound eight times
  tighter, so that there are fewer candidates. Its small range is no obstacle, since rows and
  weights are first multiplied by powers of two, which costs no accuracy, such that no product can
  overflow (Cauchy-Schwarz).
- Shapes that do not depend on the data: `topk` never waits for the device, and leaves the rows that
  its fixed number of candidates does not settle to the caller. `above` waits twice a chunk, because
  only the data say how much is above.
- The candidates' dot products are those of `gathered_dots`, in float32 whatever TensorFloat-32
  settings are in force.

The bound, in scaled units, for a row x and a latent w of norms X and at most W, both of d elements:
rounding to float16 is off by at most u times an element (u = 2⁻¹¹), or 2⁻²⁵ below the normal range.
Products of float16 are exact in float32. Tensor cores add them in float32 but cut instead of round,
also when they align several terms (Fasi, Higham, Mikaitis & Pranesh 2021, "Numerical behavior of
NVIDIA tensor cores"): fewer than 2·d cuts of at most 2⁻²³·X·W each; half as much again is for what
float32 itself rounds. The one rounding to float16 at the end is accounted for where results are
compared. Partial sums must not be rounded to float16: `are_worthwhile` checks that.

Shapes: B rows, R rows of a chunk, D d_in, F latents, C candidates a row, G = 16 members a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from plmsae.sae.gathered import gathered_dots
from plmsae.sae.sparse_code import SparseCode, row_offsets

_CHUNK_BYTES = 1 << 28
_GROUP = 16
_UNIT = 2.0**-11
# Half the distance of the numbers next to zero.
_TINY = 2.0**-25
# No sum of products and bias exceeds 2 to this power, a quarter of float16's largest number.
_ROOM = 14
# Candidates a row: so many for each latent wanted, and some more. Of so few groups, all would be
# searched.
_MANY = 2
_MORE = 16
_FEW = 2
# Below this many multiplications, the passes around the product cost more than it saves.
_LARGE = 1 << 28
_DEVICE = "cuda"


def are_worthwhile(x_BD: Tensor, W_FD: Tensor) -> bool:
    """Return whether this device multiplies float16 fast and soundly, and the problem is large.

    Where it does, cuBLAS is told, for this process and for good, not to round the partial sums of a
    float16 product to float16 ("reduced precision reduction"): the bound would not hold. (Telling
    it only while needed would change what other threads compute, at times no one can repeat.)
    """
    n = x_BD.shape[0] * W_FD.numel()
    if x_BD.device.type != _DEVICE or n <= _LARGE or x_BD.dtype != torch.float32:
        return False
    products = torch.backends.cuda.matmul
    # AMD's matrix instructions flush small float16 numbers to zero; accumulation in float16 is a
    # choice of the user that the bound does not cover.
    if torch.version.hip is not None or products.allow_fp16_accumulation:
        return False
    if products.allow_fp16_reduced_precision_reduction:
        products.allow_fp16_reduced_precision_reduction = False
    return True


class SettledTopk(NamedTuple):
    """The k best of each row that is settled."""

    values: Tensor
    """Float32 pre-activations, or 0 where they are not positive, (B, k)."""
    indices: Tensor
    """Their latents, int64, (B, k); no latent twice in a row."""
    settled: Tensor
    """Whether these are certainly the best, bool, (B,)."""


def topk(x_BD: Tensor, W_FD: Tensor, b_F: Tensor, k: int) -> SettledTopk | None:
    """Return the k largest pre-activations of each row, ReLU applied; None for too few latents.

    The groups with the largest maxima hold the largest members, so a fixed number of each is
    looked at. A row is settled if the last of them is below the lowered threshold.
    """
    n_rows, d_sae = x_BD.shape[0], W_FD.shape[0]
    n = _MANY * k + _MORE
    if d_sae < _FEW * _GROUP * n:
        return None
    screen = _Screen.of(x_BD, W_FD, b_F)
    indices_BC = x_BD.new_empty((n_rows, n), dtype=torch.int64)
    is_candidate_BC = x_BD.new_empty((n_rows, n), dtype=torch.bool)
    settled_B = x_BD.new_empty(n_rows, dtype=torch.bool)
    for rows, grouped in screen.chunks(x_BD):
        groups = grouped.amax(dim=1).topk(n, dim=1, sorted=False).indices
        members = _members(groups.unsqueeze(2), grouped.shape[2]).flatten(1)
        best, places = grouped.flatten(1).gather(1, members).topk(n, dim=1, sorted=True)
        best = best.float()
        # k latents are at least this, so whatever is among the k largest is at least the floor.
        kth_R = best[:, k - 1]
        floor_R = kth_R - kth_R.abs() * (2.1 * _UNIT) - 2.1 * screen.error_B[rows]
        # What is not positive is no better than 0, which any latent can give.
        floor_R = torch.maximum(floor_R, screen.least_B[rows])
        is_candidate_BC[rows] = best >= floor_R.unsqueeze(1)
        # Comparisons that hold for numbers only: what is not one settles nothing.
        settled_B[rows] = (best[:, -1] < floor_R) & (best[:, 0] < torch.inf)
        torch.gather(members, 1, places, out=indices_BC[rows])
    # In place of what is no candidate the row's best is computed again: its weights are at hand.
    looked_up = torch.where(is_candidate_BC, indices_BC, indices_BC[:, :1]).clamp_(max=d_sae - 1)
    offsets = torch.arange(0, n_rows * n + 1, n, device=x_BD.device)
    rows_S = torch.arange(n_rows, device=x_BD.device).repeat_interleave(n, output_size=n_rows * n)
    values_S = gathered_dots(looked_up.view(-1), offsets, rows_S, x_BD, W_FD)
    values_BC = values_S.view(n_rows, n).add_(b_F[looked_up])
    values_BC.masked_fill_(~is_candidate_BC, -torch.inf)
    values_BK, places = values_BC.topk(k, dim=1, sorted=False)
    return SettledTopk(values_BK.relu_(), indices_BC.gather(1, places), settled_B)


def above(x_BD: Tensor, W_FD: Tensor, b_F: Tensor, threshold_F: Tensor) -> SparseCode:
    """Return the pre-activations that exceed their latent's threshold."""
    n_rows, d_sae = x_BD.shape[0], W_FD.shape[0]
    margin_F = b_F - threshold_F
    rounding = (_largest(b_F) + _largest(threshold_F)) * 2.0**-23
    screen = _Screen.of(x_BD, W_FD, margin_F, rounding)
    row_parts, latent_parts = [], []
    for rows, grouped in screen.chunks(x_BD):
        floor_R, is_sound_R = screen.least_B[rows], screen.is_sound_B[rows]
        # What is not a number is a candidate too, for float32 to decide.
        hit = ~(grouped.amax(dim=1) < floor_R.unsqueeze(1)) & is_sound_R.unsqueeze(1)
        hit_row, hit_group = hit.nonzero(as_tuple=True)
        latents = _members(hit_group.unsqueeze(1), grouped.shape[2])
        is_candidate = ~(grouped[hit_row, :, hit_group] < floor_R[hit_row].unsqueeze(1))
        hit, member = (is_candidate & (latents < d_sae)).nonzero(as_tuple=True)
        row_parts.append(hit_row[hit] + rows.start)
        latent_parts.append(latents[hit, member])
    rows_S, indices_S = torch.cat(row_parts), torch.cat(latent_parts)
    offsets = row_offsets(rows_S, n_rows)
    values_S = gathered_dots(indices_S, offsets, rows_S, x_BD, W_FD).add_(b_F[indices_S])
    kept_S = (values_S > threshold_F[indices_S]).nonzero().squeeze(1)
    return SparseCode(values_S[kept_S], indices_S[kept_S], row_offsets(rows_S[kept_S], n_rows))


class _Screen(NamedTuple):
    """Weights in float16, and how far off their products with each row can be, in scaled units."""

    W16_FD: Tensor
    """Scaled; rows of zeros added to fill the last group."""
    b16_F: Tensor
    scale_x: Tensor
    """A power of two, float32 scalar."""
    error_B: Tensor
    """Bound on the error of a row's pre-activations, the last rounding aside, float32."""
    is_sound_B: Tensor
    """Whether there is such a bound: not where an input is not finite."""

    @staticmethod
    def of(x_BD: Tensor, W_FD: Tensor, b_F: Tensor, rounding: Tensor | float = 0.0) -> _Screen:
        """Prepare the product of `x_BD` and `W_FD`, to which `b_F`, off by `rounding`, is added."""
        d_sae, width = W_FD.shape
        # In float64 no square is lost or overflows.
        x_B = torch.linalg.vector_norm(x_BD, dim=1, dtype=torch.float64)
        w = torch.linalg.vector_norm(W_FD, dim=1, dtype=torch.float64).max()
        b = _largest(b_F).double()
        largest_x = _largest(x_B) if x_B.numel() else w * 0
        # Weights to a norm of at most 2⁶, rows such that nothing exceeds the room there is.
        scale_w = _power_of_two(2.0**6 / w)
        scale_x = _power_of_two(2.0**_ROOM / (largest_x * w + b) / scale_w)
        n_padded = -(-d_sae // _GROUP) * _GROUP
        W16_FD = W_FD.new_zeros((n_padded, width), dtype=torch.float16)
        torch.mul(W_FD, scale_w.float(), out=W16_FD[:d_sae])
        b16_F = b_F.new_full((n_padded,), -torch.inf, dtype=torch.float16)
        b16_F[:d_sae] = b_F.double() * (scale_x * scale_w)
        scaled_x_B, scaled_w = x_B * scale_x, w * scale_w
        lost = _TINY * width**0.5
        dx_B, dw = _UNIT * scaled_x_B + lost, _UNIT * scaled_w + lost
        error_B = dx_B * scaled_w + (scaled_x_B + dx_B) * dw
        error_B += 1.5 * width * 2.0**-22 * (scaled_x_B + dx_B) * (scaled_w + dw)
        scaled_b = b * (scale_x * scale_w)
        error_B += _UNIT * scaled_b + 2.0**-22 * (scaled_b + scaled_x_B * scaled_w)
        error_B = (error_B + rounding * (scale_x * scale_w) + 64 * _TINY) * 1.001
        return _Screen(
            W16_FD, b16_F, scale_x.float(), error_B.float(), torch.isfinite(error_B.float())
        )

    @property
    def least_B(self) -> Tensor:
        """What a row's scaled pre-activation in float16 exceeds if the true one is positive."""
        return -((1 + 2 * _UNIT) * self.error_B + 2 * _TINY)

    def chunks(self, x_BD: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield row ranges and pre-activations as float16 (R, member, group); one buffer for all.

        Latent f is member f // width of group f % width. Those that fill the last groups are -inf.
        """
        n_rows, n = x_BD.shape[0], self.W16_FD.shape[0]
        chunk = max(_GROUP, _CHUNK_BYTES // (2 * n))
        buffer = self.W16_FD.new_empty((min(chunk, n_rows), n))
        for start in range(0, max(n_rows, 1), chunk):
            rows = slice(start, min(start + chunk, n_rows))
            part = buffer[: rows.stop - start]
            x16_RD = (x_BD[rows] * self.scale_x).half()
            torch.addmm(self.b16_F, x16_RD, self.W16_FD.t(), out=part)
            yield rows, part.view(-1, _GROUP, n // _GROUP)


def _members(groups: Tensor, width: int) -> Tensor:
    """Return the latents of groups (…, 1): (…, G)."""
    return groups + torch.arange(0, width * _GROUP, width, device=groups.device)


def _largest(x: Tensor) -> Tensor:
    """Return the largest finite magnitude, a scalar."""
    return x.abs().where(torch.isfinite(x), 0.0).max()


def _power_of_two(x: Tensor) -> Tensor:
    """Return the largest power of two not above x (float64), kept within float32's range."""
    exponent = torch.floor(torch.log2(x)).nan_to_num(nan=0.0, posinf=100.0, neginf=-126.0)
    return torch.exp2(exponent.clamp(-126, 100))
