"""Items of many requests -> batches for one device, each up to a token budget, fair to all that wait.

A device may run several batches at once, each in a thread of its own: streams.

There is no timer: while the device is busy the queue grows, so load makes the batches larger. The budget is
in tokens because time is: 64 short queries cost what one long passage does.
"""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from kubeembed_runtime.budget import Budget
from kubeembed_runtime.errors import DeviceFailed, NotFinite, OutOfMemory, QueueFull
from kubeembed_runtime.finite import not_finite
from kubeembed_runtime.occupancy import Occupancy
from kubeembed_runtime.queueing import Job, Queue, Slot, parts, tokens_by_adapter
from kubeembed_runtime.requests import BatchRun, Item, Output
from kubeembed_runtime.usage import Meter, Rate, Usage

logger = logging.getLogger(__name__)

Run = Callable[[Sequence[Item]], Sequence[Output]]

#: So many batches failing one after the other mean that the device, not the input, is broken.
FAILURES_TO_DIE = 5


class Taken(NamedTuple):
    """A batch, and the budget that it was taken with. alone: nothing else runs, or is about to."""

    batch: list[Slot]
    budget: int
    alone: bool


class Batcher:
    """Bounded queue, a device thread per stream. Every future that `submit` returns ends, whatever happens.

    budget: tokens per batch; an item larger than that runs alone. capacity: tokens that may wait; a request
    that finds nothing waiting is always taken. beside, patience: as in Occupancy. `run` and `observe` are
    called in a device thread, and before each batch `prepare` is, which is told the stream and whether the
    batch has the device alone: nothing else runs or waits, and no request has met another since that was last
    so.

    A batch for which `run` raises OutOfMemory halves the budget and is run once more, in parts of the new
    one; a part that has no memory then either fails its requests. An output with a value that is no number
    fails its own request, and says nothing of the device.
    """

    def __init__(
        self,
        run: Run,
        *,
        budget: int,
        capacity: int,
        streams: int = 1,
        beside: int = 1,
        patience: float = 0.0,
        prepare: Callable[[int, bool], None] = lambda stream, alone: None,
        observe: Callable[[BatchRun], None] = lambda run: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._prepare, self._observe, self._clock = run, prepare, observe, clock
        self._budget, self.capacity = Budget(budget), capacity
        self._queue = Queue()
        self._meter = Meter(clock)
        self._rate = Rate()
        self._streams = Occupancy(streams, beside=beside, patience=patience, rate=self._rate)
        self._failures = 0
        self._lock = threading.RLock()
        self._work = [threading.Condition(self._lock) for _ in range(streams)]
        self._closing = False
        self._death: DeviceFailed | None = None
        self._threads = [
            threading.Thread(target=self._live, args=(n,), name=f"device-{n}", daemon=True)
            for n in range(streams)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Runs what was accepted, then ends the device threads."""
        with self._lock:
            self._closing = True
            self._wake_all()
        for thread in self._threads:
            thread.join()
        self._die(DeviceFailed("the runtime has stopped"), [])

    @property
    def alive(self) -> bool:
        return self._death is None and all(thread.is_alive() for thread in self._threads)

    @property
    def budget(self) -> int:
        """Tokens per batch, now."""
        return self._budget.tokens

    @property
    def usage(self) -> Usage:
        return self._meter.read(self._queue.tokens)

    @property
    def waiting_tokens(self) -> int:
        return self._queue.tokens

    @property
    def waiting_seconds(self) -> float:
        """Estimate of how long what waits will take, at the measured rate."""
        return self._rate.seconds(self._queue.tokens)

    def admit(self, tokens: int) -> None:
        """Raises QueueFull where `tokens` more are too many, DeviceFailed where nothing runs any more."""
        if self._death is not None:
            raise self._death
        waiting = self._queue.tokens
        if waiting and waiting + tokens > self.capacity:
            raise QueueFull(waiting, self.capacity, max(1.0, self.waiting_seconds))

    def submit(
        self,
        items: Sequence[Item],
        observe: Callable[[float], None] = lambda seconds: None,
    ) -> "Future[list[Output]]":
        """The outputs, in order. Cancel the future and what has not run yet is dropped, at once; so it is
        when a part of it fails.

        The items have one adapter. `observe` is told, in the device thread, the seconds before the first
        batch. Raises QueueFull and DeviceFailed; the future raises OutOfMemory, NotFinite and DeviceFailed.
        """
        job = Job(items=items, submitted=self._clock(), observe=observe)
        with self._lock:
            if self._closing:
                raise DeviceFailed("the runtime is stopping")
            self.admit(job.tokens)
            self._streams.comes(self._queue.tokens)
            self._queue.add(job)
            self._wake_next()
        there = weakref.ref(job)  # the future must not hold it: such a ring outlives the answer
        job.future.add_done_callback(lambda future: self._ended(there()))
        return job.future

    def _ended(self, job: Job | None) -> None:
        """Nobody waits for the rest of it, which takes no room from those that come, nor a turn."""
        if job is not None:
            with self._lock:
                self._queue.drop(job)

    def _live(self, stream: int) -> None:
        taken: Taken | None = None
        try:
            while (taken := self._next(stream)) is not None:
                self._prepare(stream, taken.alone)
                self._do(taken)
                taken = None  # what waits for the next holds nothing of it, adapters above all
                with self._lock:
                    self._streams.end(stream)
                    if self._queue.tokens:  # that may have been too few beside this one
                        self._wake_next()
        except BaseException as error:
            logger.critical("device thread ended: %s", error)
            batch = [] if taken is None else taken.batch
            self._die(DeviceFailed(f"the device is gone: {error}"), batch)

    def _die(self, error: DeviceFailed, batch: Sequence[Slot]) -> None:
        """The other streams end after the batch that they run."""
        with self._lock:
            self._death = self._death or error
            jobs = self._queue.clear()
            self._wake_all()
        for job in [*(slot.job for slot in batch), *jobs]:
            job.fail(error)

    def _next(self, stream: int) -> Taken | None:
        """Waits for work. None means: closing, and all is done; or the device is gone."""
        with self._lock:
            while self._death is None:
                if taken := self._take(stream):
                    return taken
                if self._closing:  # what is left is for those before
                    return None
                self._work[stream].wait()
            return None

    def _take(self, stream: int) -> Taken | None:
        due = self._streams.due(stream, self._queue.tokens, closing=self._closing)
        batch = self._queue.take(self.budget) if due else []
        if not batch:
            return None
        tokens = sum(slot.item.tokens for slot in batch)
        alone = self._streams.begin(stream, tokens, self._queue.tokens)
        if self._queue.tokens:
            self._wake_next()
        return Taken(batch, self.budget, alone)

    def _wake_all(self) -> None:
        for work in self._work:
            work.notify()

    def _wake_next(self) -> None:
        free = self._streams.free
        if free is not None:
            self._work[free].notify()

    def _do(self, taken: Taken) -> None:
        error = self._try(taken.batch)
        if isinstance(error, OutOfMemory):
            with self._lock:
                self._budget.shrink(error, taken.budget)
            for part in parts(taken.batch, self.budget):
                left = [slot for slot in part if not slot.job.future.done()]
                if left and (failure := self._try(left)):
                    self._fail(left, failure)
        elif error is not None:
            self._fail(taken.batch, error)
        if error is not None and self._failures >= FAILURES_TO_DIE:
            raise error

    def _try(self, batch: Sequence[Slot]) -> Exception | None:
        """Runs a batch and puts its outputs into its jobs; or returns what `run` raised."""
        waits = self._started(batch)  # told before any answer is there: who has it reads them
        items = [slot.item for slot in batch]
        failure: Exception | None = None
        begun = self._meter.begin()
        try:
            outputs = self._run(items)
        except Exception as error:
            failure = error
        by_adapter = tokens_by_adapter(batch)
        tokens = sum(by_adapter.values())
        seconds = self._meter.end(begun, 0 if failure else tokens)
        if failure is None:
            self._succeed(batch, outputs, tokens, seconds)
        self._observe(
            BatchRun(
                items=len(items),
                tokens=by_adapter,
                fill=tokens / self.budget,
                device_seconds=seconds,
                queue_seconds=waits,
                failed=failure is not None,
            )
        )
        return failure

    def _started(self, batch: Sequence[Slot]) -> list[tuple[str, float]]:
        """The adapter and the wait of each request that starts with this batch."""
        now = self._clock()
        with self._lock:
            return [
                (slot.job.adapter or "", slot.job.start(now))
                for slot in batch
                if not slot.job.started
            ]

    def _succeed(
        self, batch: Sequence[Slot], outputs: Sequence[Output], tokens: int, seconds: float
    ) -> None:
        with self._lock:
            self._failures = 0
            self._budget.grow()
            self._rate.add(tokens, seconds)
        for slot, output in zip(batch, outputs, strict=True):
            kind = not_finite(output)
            if kind is None:
                slot.job.put(slot.place, output)
            else:
                error = NotFinite(kind, slot.place, len(slot.job.items))
                logger.error("one of a batch of %d items failed: %s", len(batch), error)
                slot.job.fail(error)

    def _fail(self, batch: Sequence[Slot], error: Exception) -> None:
        """Want of memory is the input's doing or a neighbour's: it is no sign of a broken device."""
        logger.error("a batch of %d items failed: %s", len(batch), error)
        failure: Exception = error
        if not isinstance(error, OutOfMemory):
            with self._lock:
                self._failures += 1
            failure = DeviceFailed(f"the forward pass failed: {error}")
            failure.__cause__ = error
        for slot in batch:
            slot.job.fail(failure)
