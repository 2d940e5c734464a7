"""How busy the device has been: sums that its threads keep, and that any thread may read.

The batch that runs counts up to now. Otherwise one long batch would look like an idle device, and then like
one that was busy for longer than time went by.
"""

import threading
from collections.abc import Callable
from typing import NamedTuple

#: Weight of the newest batch in the rate.
RATE_SMOOTHING = 0.2


class Usage(NamedTuple):
    """Sums since the start, but for what waits now."""

    busy_seconds: float
    tokens: int  # of batches that succeeded
    queued_tokens: int


class Meter:
    """`begin` and `end` are the device threads', around each batch; `read` is everybody's.

    Batches that run side by side share the device: of each second, two of them have half a second each. So
    their seconds sum up to those in which the device was busy.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._busy_seconds = 0.0
        self._each = 0.0  # seconds of a batch that has run since the start
        self._tokens = 0
        self._running = 0
        self._now = clock()

    def begin(self) -> float:
        """A batch begins. Returns what `end` wants to know of it."""
        with self._lock:
            self._advance()
            self._running += 1
            return self._each

    def end(self, begun: float, tokens: int) -> float:
        """Returns the batch's seconds. tokens: 0 for a batch that failed; its seconds count."""
        with self._lock:
            self._advance()
            self._running -= 1
            self._tokens += tokens
            return self._each - begun

    def read(self, queued_tokens: int) -> Usage:
        with self._lock:
            self._advance()
            return Usage(self._busy_seconds, self._tokens, queued_tokens)

    def _advance(self) -> None:
        now = self._clock()
        if self._running:
            self._busy_seconds += now - self._now
            self._each += (now - self._now) / self._running
        self._now = now


class Rate:
    """Of late, of all that run together. Not safe across threads by itself. 0 before the first batch."""

    def __init__(self) -> None:
        self.per_second = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        """A batch has ended well, in so many of the seconds that a Meter gives."""
        rate = tokens / seconds if seconds > 0 else 0.0
        old = self.per_second or rate
        self.per_second = old + RATE_SMOOTHING * (rate - old)

    def seconds(self, tokens: int) -> float:
        """Estimate of how long these take; 0 where nothing is known."""
        return tokens / self.per_second if self.per_second else 0.0
