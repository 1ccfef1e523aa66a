"""Memory that comes and goes with each batch, kept by the C library between them."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of glibc's ``mallopt``, from malloc.h."""
LARGEST_BYTES = 32 * 1024 * 1024
"""glibc allows no more."""
KEPT_BYTES = 64 * 1024 * 1024


def keep_freed_memory() -> None:
    """Have up to `KEPT_BYTES` of what was freed be used again, without asking the kernel for it each time.

    By default what is free beyond twice the largest array so far is given back, and a batch has several of that size:
    to have their pages cleared and mapped anew takes a fifth of the time that its rows take. Where the C library is not
    glibc nothing is done.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, LARGEST_BYTES)
        library.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
