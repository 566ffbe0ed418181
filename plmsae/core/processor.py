"""What processors can do, told from the capabilities that torch lists."""

from __future__ import annotations

from collections.abc import Mapping


def multiplies_bf16(capabilities: Mapping[str, object]) -> bool:
    """Return whether a processor multiplies bf16 matrices in hardware.

    AVX-512 has instructions for it, and so have AMX's matrix units. Units without ``amx_bf16``
    multiply integers only.

    Parameters
    ----------
    capabilities : mapping
        What ``torch.cpu.get_capabilities()`` returns.
    """
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
