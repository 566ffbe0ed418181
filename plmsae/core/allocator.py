"""How the C library keeps freed memory."""

from __future__ import annotations

import ctypes
import os

# glibc's malloc.h: the parameter, the variable of the environment by which users set it (mallopt,
# section "Environment variables"), and the value here.
_PARAMETERS = (
    (-1, "MALLOC_TRIM_THRESHOLD_", 1 << 20),
    (-3, "MALLOC_MMAP_THRESHOLD_", 1 << 20),
    (-8, "MALLOC_ARENA_MAX", 2),
)


def return_freed_memory() -> None:
    """Let glibc return blocks of 1 MiB and more to the system when they are freed.

    By default it raises that limit to the largest block freed so far, up to 32 MiB, and keeps
    smaller ones in a heap for each thread. Activations of ever new sizes leave gaps there: peak
    memory of a long `score` was a quarter higher. Variables of the environment that set the
    parameters hold. Other C libraries, which have no ``mallopt``, are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no library without a name
        return
    for parameter, variable, value in _PARAMETERS:
        if variable not in os.environ:
            mallopt(parameter, value)
