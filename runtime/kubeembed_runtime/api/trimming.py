"""Memory that large requests leave behind goes back to the system: glibc keeps most of what it ever had."""

import asyncio

from kubeembed_runtime.allocator import trim

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
