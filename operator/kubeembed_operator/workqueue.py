"""Keys that want to be looked at: each once, one at a time per key, with back-off for those that fail.

A key that is added while it is worked on is looked at again afterwards, so no event is ever lost. Adding
waits a moment, so that the burst of events after a change makes one pass and not ten.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K", bound=tuple[str, ...])

#: Looks at a key; returns after how many seconds to look again though nothing happens, or None.
Handler = Callable[[K], Awaitable[float | None]]

logger = logging.getLogger(__name__)


class TryAgain(Exception):
    """Raised by a handler for a failure of the world, which it has told about: repeated with back-off."""


#: Seconds that events of one key are gathered.
GATHER = 0.25
#: Seconds before the first repeat of a failed pass; doubled for each further one, up to the cap.
BACKOFF = 0.5
BACKOFF_CAP = 60.0


class WorkQueue(Generic[K]):
    """`run` works on at most `concurrency` keys at once until `stop`."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, K]] = []
        self._running: dict[K, asyncio.Task[None]] = {}
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()
        self._stopping = False

    def __len__(self) -> int:
        """Keys that are due or will be."""
        return len(self._due)

    @property
    def running(self) -> int:
        return len(self._running)

    def add(self, key: K, after: float = GATHER) -> None:
        """Asks for a look at `key` in so many seconds; of two wishes the earlier one counts."""
        due = asyncio.get_running_loop().time() + after
        if self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        self._changed.set()

    def backoff(self, key: K) -> float:
        """Seconds until the next try of a key that has just failed once more."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return float(min(BACKOFF * 2 ** min(failures, 20), BACKOFF_CAP))

    async def run(self, handler: Handler[K]) -> None:
        """Returns after `stop`, when nothing is in hand any more."""
        while not self._stopping:
            self._changed.clear()
            self._start_due(handler)
            await self._sleep()
        await self.drained()

    def stop(self) -> None:
        """No further key is started."""
        self._stopping = True
        self._changed.set()

    async def drained(self) -> None:
        while self._running:
            await asyncio.wait(list(self._running.values()))

    def _start_due(self, handler: Handler[K]) -> None:
        now = asyncio.get_running_loop().time()
        blocked: list[tuple[float, K]] = []
        while self._heap and self._heap[0][0] <= now and len(self._running) < self._concurrency:
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) != due:
                continue  # an earlier wish took its place
            if key in self._running:
                blocked.append((due, key))
                continue
            del self._due[key]
            task = asyncio.create_task(self._work(key, handler), name=f"model {'/'.join(key)}")
            self._running[key] = task
        for entry in blocked:
            heapq.heappush(self._heap, entry)

    async def _sleep(self) -> None:
        """Until something changes, or the next key that could start is due."""
        timeout = None
        if len(self._running) < self._concurrency:
            waiting = [due for due, key in self._heap if key not in self._running]
            if waiting:
                timeout = max(0.0, min(waiting) - asyncio.get_running_loop().time())
        try:
            await asyncio.wait_for(self._changed.wait(), timeout)
        except TimeoutError:
            return

    async def _work(self, key: K, handler: Handler[K]) -> None:
        try:
            again = await handler(key)
            self._failures.pop(key, None)
        except TryAgain:
            again = self.backoff(key)
        except Exception:
            # Nobody expected this one, so it is a bug; the other keys do not have to suffer for it.
            logger.exception("reconcile of %s failed", "/".join(key))
            again = self.backoff(key)
        finally:
            self._running.pop(key, None)
            self._changed.set()
        if again is not None:
            self.add(key, again)
