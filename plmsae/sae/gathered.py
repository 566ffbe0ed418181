"""Dot products of some pairs of rows, without the matrix of all of them."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def gathered_dots(
    indices_S: Tensor, offsets: Tensor, rows_S: Tensor | None, x_BD: Tensor, W_FD: Tensor
) -> Tensor:
    """Return, for each entry of compressed rows, the dot product of its row and its latent: (S,).

    On a GPU torch's kernel takes a warp for each entry, reads both rows once, in order, and adds in
    float32 in a fixed order: one pass over memory, whatever TensorFloat-32 settings are in force. A
    kernel of our own could only read a row of `x_BD` once instead of once for each entry, from
    caches where it lies anyway; the rows of `W_FD` are what comes from far.

    Parameters
    ----------
    indices_S : Tensor, int64
        Row of `W_FD` of each entry.
    offsets : Tensor, int64, shape (B + 1,)
        Where each row of `x_BD` begins.
    rows_S : Tensor, int64, optional
        Row of `x_BD` of each entry; needed on a GPU only.
    x_BD, W_FD : Tensor, float32
        The two sets of rows.
    """
    if indices_S.numel() == 0:
        return x_BD.new_empty(0)
    if x_BD.device.type == "cpu":
        # A third of the time of the bag's own backward, which calls BLAS once for each entry.
        pattern = torch.sparse_csr_tensor(
            offsets,
            indices_S,
            x_BD.new_zeros(indices_S.numel()),
            (x_BD.shape[0], W_FD.shape[0]),
            check_invariants=False,
        )
        sampled: Tensor = torch.sparse.sampled_addmm(pattern, x_BD, W_FD.t(), beta=0.0)
        return sampled.values()
    assert rows_S is not None  # noqa: S101 (for the type checker)
    return bag_dots(indices_S, offsets, rows_S, x_BD, W_FD)


def bag_dots(
    indices_S: Tensor, offsets: Tensor, rows_S: Tensor, x_BD: Tensor, W_FD: Tensor
) -> Tensor:
    """Return the same by the kernel with which torch differentiates an embedding bag's weights.

    torch has no public name for it: by way of `embedding_bag` and autograd the bags themselves
    would be computed too, in about the same time. Should a new version of torch break it,
    ``tests/sae/test_sae_gathered.py`` says so, on a CPU as well.
    """
    dots: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        x_BD, W_FD, indices_S, offsets[:-1], rows_S, 0, -1
    )
    return dots


with warnings.catch_warnings():
    # torch says once a process that sparse CSR is in beta; what is used of it here is tested.
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)
