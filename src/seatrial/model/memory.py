"""Asks the C library to keep freed memory, because fetching it anew costs time.

A forward call makes and frees hundreds of tensors of a few megabytes. By default glibc
gives each back to the operating system, which has to find and to clear the pages again for
the next one.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGEST_MMAP_THRESHOLD = 2**25
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Change it for this process; returns whether its C library understood.

    Peak memory stays as it is, but what is freed is not given back before the process ends,
    which is why a library must not do this unasked; the command line does.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    done = mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    return bool(done and mallopt(_TRIM_THRESHOLD, _NEVER))
