"""Requests in hand, and for how long there have been none.

Of the event loop alone: not safe across threads.
"""

import time
from collections.abc import Callable


class Traffic:
    """`begin` and `end` of each request that a contract answers; health checks are none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quiet_since = clock()
        self.in_flight = 0

    def begin(self) -> None:
        self.in_flight += 1

    def end(self) -> None:
        self.in_flight -= 1
        self._quiet_since = self._clock()

    def ready(self) -> None:
        """Nobody could have asked before, so that the idle time counts from here."""
        self._quiet_since = self._clock()

    @property
    def idle_seconds(self) -> float:
        return 0.0 if self.in_flight else self._clock() - self._quiet_since
