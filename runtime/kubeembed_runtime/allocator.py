"""What glibc does with memory that is freed. Where the C library is another one, nothing changes."""

import ctypes
from functools import cache

#: mallopt's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, and what they are set to: as far as glibc itself goes,
#: once it has seen a block of 32 MiB.
_TRIM, _TRIM_BYTES = -1, 64 << 20
_MMAP, _MMAP_BYTES = -3, 32 << 20


def keep() -> None:
    """Blocks of a few MiB are used again, not returned: each batch would fault all its pages in anew, while
    the other threads wait for the lock of the process's memory."""
    library = _library()
    if hasattr(library, "mallopt"):
        library.mallopt(_TRIM, _TRIM_BYTES)
        library.mallopt(_MMAP, _MMAP_BYTES)


def trim() -> None:
    """All that is free goes back to the system."""
    library = _library()
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None)
