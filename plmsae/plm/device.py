"""Which device a PLM runs on, and in which precision."""

from __future__ import annotations

import torch

from plmsae.core.errors import InputError
from plmsae.core.processor import multiplies_bf16
from plmsae.plm.choices import Precision

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(device: str = "auto") -> torch.device:
    """Return the torch device; ``auto`` takes CUDA, then MPS, then the CPU."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        # For a name that it does not know torch lists twenty, most of which nobody has.
        unknown = reason.startswith("Expected one of") or "Invalid device string" in reason
        what = "no such device" if unknown else f"no such device here: {reason}"
        hint = "give auto, cpu, cuda, cuda:1 or mps" if unknown else "auto takes what there is"
        raise InputError(what, where="--device", value=device, hint=hint) from None
    return torch.device(device)


def native_bf16(device: torch.device) -> bool:
    """Say whether `device` multiplies bf16 matrices in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and multiplies_bf16(torch.cpu.get_capabilities())


def choose_dtypes(precision: Precision, device: torch.device) -> tuple[torch.dtype, torch.dtype]:
    """Return the dtypes of a PLM's parameters and of its matrix products.

    ``auto`` is bf16 on CUDA and on CPUs with matrix units (AMX), where it is about twice as fast
    as fp32 (``benchmarks/precision.py``, which also measures what it changes); fp32 elsewhere. On a
    CPU the parameters and the residual stream stay in fp32 whatever the products are done in:
    memory is not scarce there, and rounding errors do not add up over the blocks.
    """
    if precision == "auto":
        matrix_units = device.type == "cpu" and torch.cpu.get_capabilities().get("amx_bf16", False)
        precision = "bf16" if device.type == "cuda" or matrix_units else "fp32"
    products = _DTYPES[precision]
    return (torch.float32 if device.type == "cpu" else products), products
