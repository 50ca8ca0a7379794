"""How the C library handles the memory of tensors on a processor."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_MOST = 2**31 - 1  # of the int that it takes


def keep_freed_memory() -> bool:
    """Let the process keep the memory that large tensors free, for the tensors of the next step.

    By default glibc gives it back, and the kernel clears every page again when the next tensor of that size is made:
    a tenth of a step's time. The peak stays what it was; between steps the memory is not free for other processes.
    Returns whether the C library is glibc and took it; else nothing changes.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    # older ones take no more than 32 MiB, and the second setting alone would have all larger memory made anew each time
    if not any(library.mallopt(_MMAP_THRESHOLD, size) for size in (2**30, 2**25)):
        return False
    return bool(library.mallopt(_TRIM_THRESHOLD, _MOST))
