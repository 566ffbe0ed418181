from __future__ import annotations

from pathlib import Path

import pytest
import torch

from plmsae.core.processor import multiplies_bf16


@pytest.mark.parametrize(
    ("capabilities", "able"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_tile": True, "amx_bf16": True}, True),
        ({"amx_tile": True, "amx_int8": True, "amx_bf16": False, "avx512_bf16": False}, False),
        ({"avx2": True}, False),
        ({}, False),
    ],
)
def test_bf16_needs_an_instruction_of_its_own(capabilities: dict[str, bool], able: bool) -> None:
    assert multiplies_bf16(capabilities) is able


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the kernel lists no flags here")
def test_torch_names_what_the_kernel_names() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().partition("\nflags")[2].split("\n")[0].split())
    listed = bool(flags & {"avx512_bf16", "amx_bf16"})
    assert multiplies_bf16(torch.cpu.get_capabilities()) == listed
