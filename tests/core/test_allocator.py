"""Freed memory goes back to the system: half of many blocks freed is half of the memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Every second block is freed, so that those which are left lie between the gaps.
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from plmsae.core.allocator import return_freed_memory

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

if sys.argv[1] == "yes":
    return_freed_memory()
del [np.ones(4 << 20, np.uint8) for _ in range(8)][:]  # glibc learns the size of a block
before = resident()
blocks = [np.ones(4 << 20, np.uint8) for _ in range(50)]
del blocks[::2]
print(resident() - before)
"""


def kept(*, asked: str, **variables: str) -> float:
    """MiB that are resident after 25 of 50 blocks of 4 MiB were freed."""
    command = [sys.executable, "-c", PROGRAM, asked]
    found = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return float(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_blocks_are_returned_unless_the_environment_says_otherwise() -> None:
    assert kept(asked="yes") == pytest.approx(100, abs=30)
    assert kept(asked="no") > 150
    limits = {f"MALLOC_{name}_THRESHOLD_": str(32 << 20) for name in ("MMAP", "TRIM")}
    assert kept(asked="yes", **limits) > 150
