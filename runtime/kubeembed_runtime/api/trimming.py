"""Memory that large requests leave behind goes back to the system: glibc keeps most of what it ever had."""

import asyncio
import ctypes
from functools import cache

#: From the first large request that ends to the next trim, which is for all that end meanwhile. It takes
#: milliseconds, and would be as long after each.
DELAY_SECONDS = 2.0


class Trimming:
    """At most one trim is waited for."""

    def __init__(self) -> None:
        self._waiting: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """From the event loop."""
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().call_later(DELAY_SECONDS, self._trim)

    def _trim(self) -> None:
        self._waiting = None
        asyncio.get_running_loop().run_in_executor(None, trim)


def trim() -> None:
    """Nothing where the C library has no such thing."""
    library = _library()
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None)
