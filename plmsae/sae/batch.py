"""What a batch is: activations, or for a transcoder a pair."""

from __future__ import annotations

import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.sae.config import SaeConfig
from plmsae.sae.normalize import normalize

Batch = Tensor | tuple[Tensor, Tensor]
"""Activations (B, d_in); for a transcoder, these and those of the target layer (B, d_target)."""


def split_batch(
    batch: Batch, config: SaeConfig, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Check a raw batch and return what goes in and what a transcoder reconstructs, on `device`.

    Nobody waits for a batch in pinned memory to arrive on a GPU: it must not be changed afterwards.
    """
    if not config.is_transcoder:
        if not isinstance(batch, Tensor):
            raise InputError("batches must be tensors, not pairs, where target is input")
        _check_shape("batches", batch, config.d_in)
        return _moved(batch, device), None
    if isinstance(batch, Tensor) or len(batch) != 2:
        raise InputError(
            "a transcoder needs pairs of batches", hint="give (activations, target activations)"
        )
    x_BD, y_BD = batch
    _check_shape("input batches", x_BD, config.d_in)
    _check_shape("target batches", y_BD, config.d_target)
    if x_BD.shape[0] != y_BD.shape[0]:
        raise InputError(
            "input and target must have as many rows", value=f"{x_BD.shape[0]}, {y_BD.shape[0]}"
        )
    x_BD, y_BD = _moved(x_BD, device), _moved(y_BD, device)
    return x_BD, y_BD - x_BD if config.target == "change" else y_BD


def training_batch(
    batch: Batch, config: SaeConfig, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Do what `split_batch` does, with the input normalised: training never sees raw rows."""
    x_BD, target_BD = split_batch(batch, config, device)
    return normalize(x_BD, config.input_norm).rows, target_BD


def _moved(batch: Tensor, device: torch.device) -> Tensor:
    # On the way back, from a GPU, not to wait would be to read what is not there yet.
    ahead = device.type == "cuda" and batch.device.type == "cpu"
    return batch.to(device, non_blocking=ahead).float()


def _check_shape(name: str, batch: Tensor, width: int) -> None:
    if batch.ndim != 2 or batch.shape[1] != width or batch.shape[0] == 0:
        raise InputError(f"{name} must have shape (n, {width})", value=str(tuple(batch.shape)))
