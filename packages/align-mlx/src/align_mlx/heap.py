"""Freed memory on Linux CPUs: given back to the C library, and kept there.

On a CPU MLX's arrays come from the C library. Decoding makes arrays of ever new lengths, for which MLX's own cache of
freed ones has no use: it fills up to its bound, and every new array is fresh memory that the kernel must clear first.
So MLX keeps nothing there, and the C library keeps freed memory in the process instead of returning it to the kernel
after each large array.
"""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
KEPT = 256 * 2**20
"""Bytes at the heap's end that may lie idle before some are returned to the kernel."""
ASKED = 16 * 2**20
"""Bytes more than needed that the heap grows by."""
LARGEST = 32 * 2**20
"""Arrays from this size on are mapped one by one; glibc allows no larger value."""


def keep_pages() -> bool:
    """Let the C library keep freed memory; give whether it is one that can be told so (glibc)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_TRIM_THRESHOLD: KEPT, _TOP_PAD: ASKED, _MMAP_THRESHOLD: LARGEST}
    return all([mallopt(which, size) == 1 for which, size in settings.items()])  # every one, also after a refusal
