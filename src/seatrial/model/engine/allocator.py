"""When the C library keeps freed memory, and when it gives it back.

A forward call makes and frees hundreds of tensors of a few megabytes. By default glibc
gives each back to the operating system, which has to find and to clear the pages again for
the next one. Between chunks of requests it is the other way round: what one chunk kept of
the unsteered model leaves holes that are a little too small for the longer texts of the
next, so that memory would grow with the number of requests.
"""

import ctypes
import sys
from collections.abc import Callable

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGEST_MMAP_THRESHOLD = 2**25
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Change it for this process; returns whether its C library understood.

    Peak memory stays as it is, but what is freed is not given back before the process ends,
    which is why a library must not do this unasked; the command line does.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    done = mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    return bool(done and mallopt(_TRIM_THRESHOLD, _NEVER))


def give_back_freed() -> bool:
    """Give all pages that are free now back, once; returns whether there were any.

    Takes some 50 ms a gigabyte. Where the C library is not glibc, nothing is done.
    """
    malloc_trim = _of_glibc("malloc_trim")
    return malloc_trim is not None and bool(malloc_trim(0))


def _of_glibc(name: str) -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)
