"""How busy the device has been: sums that its thread keeps, and that any thread may read.

The batch that runs counts up to now. Otherwise one long batch would look like an idle device, and then like
one that was busy for longer than time went by.
"""

import threading
from collections.abc import Callable
from typing import NamedTuple


class Usage(NamedTuple):
    """Sums since the start, but for what waits now."""

    busy_seconds: float
    tokens: int  # of batches that succeeded
    queued_tokens: int


class Meter:
    """`begin` and `end` are the device thread's, one after the other; `read` is everybody's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._busy_seconds = 0.0
        self._tokens = 0
        self._since: float | None = None

    def begin(self, now: float) -> None:
        with self._lock:
            self._since = now

    def end(self, now: float, tokens: int) -> None:
        """tokens: 0 for a batch that failed; its seconds count."""
        with self._lock:
            if self._since is not None:
                self._busy_seconds += now - self._since
            self._since = None
            self._tokens += tokens

    def read(self, queued_tokens: int) -> Usage:
        with self._lock:
            running = 0.0 if self._since is None else max(0.0, self._clock() - self._since)
            return Usage(self._busy_seconds + running, self._tokens, queued_tokens)
