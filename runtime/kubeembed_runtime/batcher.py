"""Items of many requests -> batches for one device, oldest first, each up to a token budget.

There is no timer: an idle device starts at once, and while it is busy the queue grows, so load makes the
batches larger. The budget is in tokens because time is: 64 short queries cost what one long passage does.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from kubeembed_runtime.errors import DeadlineExceeded, DeviceFailed, QueueFull
from kubeembed_runtime.requests import BatchRun, Item, Output

logger = logging.getLogger(__name__)

Run = Callable[[Sequence[Item]], Sequence[Output]]

#: So many batches failing one after the other mean that the device, not the input, is broken.
FAILURES_TO_DIE = 5

#: Weight of the newest batch in the measured rate (tokens per second).
RATE_SMOOTHING = 0.2


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """A submitted request: how far it has been batched, and what has come back."""

    items: Sequence[Item]
    deadline: float | None
    submitted: float
    future: "Future[list[Output]]" = field(default_factory=Future)
    taken: int = 0
    missing: int = 0
    outputs: list[Output | None] = field(default_factory=list)

    def fail(self, error: Exception) -> None:
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

    def put(self, index: int, output: Output) -> None:
        self.outputs[index] = output
        self.missing -= 1
        if self.missing == 0 and not self.future.done():
            self._finish()

    def _finish(self) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_result([output for output in self.outputs if output is not None])


_Slot = tuple[_Job, int]


class Batcher:
    """Bounded queue, one device thread. Every future that `submit` returns ends, whatever happens.

    budget: tokens per batch; an item larger than that runs alone. capacity: tokens that may wait; a request
    that finds nothing waiting is always taken. `run` and `observe` are called in the device thread.
    """

    def __init__(
        self,
        run: Run,
        *,
        budget: int,
        capacity: int,
        observe: Callable[[BatchRun], None] = lambda run: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._observe, self._clock = run, observe, clock
        self.budget, self.capacity = budget, capacity
        self._jobs: deque[_Job] = deque()
        self._waiting_tokens = 0
        self._tokens_per_second = 0.0
        self._failures = 0
        self._changed = threading.Condition()
        self._closing = False
        self._death: DeviceFailed | None = None
        self._thread = threading.Thread(target=self._live, name="device", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Runs what was accepted, then ends the device thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._death is None and self._thread.is_alive()

    @property
    def waiting_tokens(self) -> int:
        return self._waiting_tokens

    @property
    def waiting_seconds(self) -> float:
        """Estimate of how long what waits will take, at the measured rate."""
        return self._waiting_tokens / self._tokens_per_second if self._tokens_per_second else 0.0

    def admit(self, tokens: int) -> None:
        """Raises QueueFull where `tokens` more are too many, DeviceFailed where nothing runs any more."""
        if self._death is not None:
            raise self._death
        if self._waiting_tokens and self._waiting_tokens + tokens > self.capacity:
            retry_after = max(1.0, self.waiting_seconds)
            raise QueueFull(self._waiting_tokens, self.capacity, retry_after)

    def submit(
        self, items: Sequence[Item], deadline: float | None = None
    ) -> "Future[list[Output]]":
        """The outputs, in order. Cancel the future and what has not run yet is dropped.

        Raises QueueFull and DeviceFailed; the future raises DeadlineExceeded and DeviceFailed.
        """
        job = _Job(items=items, deadline=deadline, submitted=self._clock())
        job.missing = len(items)
        job.outputs = [None] * len(items)
        with self._changed:
            if self._closing:
                raise DeviceFailed("the runtime is stopping")
            tokens = sum(item.tokens for item in items)
            self.admit(tokens)
            self._waiting_tokens += tokens
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def _live(self) -> None:
        batch: list[_Slot] = []
        try:
            while batch := self._next():
                self._do(batch)
        except BaseException as error:
            logger.critical("device thread ended: %s", error)
            self._die(DeviceFailed(f"the device is gone: {error}"), batch)
        else:
            self._die(DeviceFailed("the runtime has stopped"), [])

    def _die(self, error: DeviceFailed, batch: list[_Slot]) -> None:
        with self._changed:
            self._death = error
            jobs, self._jobs, self._waiting_tokens = list(self._jobs), deque(), 0
        for job in [*(job for job, _ in batch), *jobs]:
            job.fail(error)

    def _next(self) -> list[_Slot]:
        """Waits for work. Empty means: closing, and all is done."""
        with self._changed:
            while True:
                if batch := self._take():
                    return batch
                if self._closing:
                    return []
                self._changed.wait()

    def _take(self) -> list[_Slot]:
        batch: list[_Slot] = []
        room = self.budget
        while self._jobs:
            job = self._jobs[0]
            if self._wanted(job):
                room = self._fill(batch, job, room)
                if job.taken < len(job.items):
                    break
            self._waiting_tokens -= sum(item.tokens for item in job.items[job.taken :])
            self._jobs.popleft()
        return batch

    def _wanted(self, job: _Job) -> bool:
        if job.deadline is not None and self._clock() > job.deadline:
            job.fail(DeadlineExceeded("the deadline passed before the device was free"))
        if not job.items and not job.future.done():
            job.future.set_result([])
        return not job.future.done()

    def _fill(self, batch: list[_Slot], job: _Job, room: int) -> int:
        """Moves what fits from the job to the batch; returns the room that is left."""
        while job.taken < len(job.items):
            tokens = job.items[job.taken].tokens
            if batch and tokens > room:
                break
            batch.append((job, job.taken))
            job.taken += 1
            room -= tokens
            self._waiting_tokens -= tokens
        return room

    def _do(self, batch: list[_Slot]) -> None:
        begun = self._clock()
        waits = [begun - job.submitted for job, index in batch if index == 0]
        items = [job.items[index] for job, index in batch]
        failure: Exception | None = None
        try:
            outputs = self._run(items)
        except Exception as error:
            failure = error
            self._fail(batch, error)
        seconds = self._clock() - begun
        tokens = sum(item.tokens for item in items)
        if failure is None:
            self._succeed(batch, outputs, tokens, seconds)
        self._observe(
            BatchRun(
                items=len(items),
                tokens=tokens,
                fill=tokens / self.budget,
                device_seconds=seconds,
                queue_seconds=waits,
                failed=failure is not None,
            )
        )
        if failure is not None and self._failures >= FAILURES_TO_DIE:
            raise failure

    def _succeed(
        self, batch: list[_Slot], outputs: Sequence[Output], tokens: int, seconds: float
    ) -> None:
        self._failures = 0
        rate = tokens / seconds if seconds > 0 else 0.0
        old = self._tokens_per_second or rate
        self._tokens_per_second = old + RATE_SMOOTHING * (rate - old)
        for (job, index), output in zip(batch, outputs, strict=True):
            job.put(index, output)

    def _fail(self, batch: list[_Slot], error: Exception) -> None:
        self._failures += 1
        logger.error("a batch of %d items failed: %s", len(batch), error)
        failure = DeviceFailed(f"the forward pass failed: {error}")
        failure.__cause__ = error
        for job, _ in batch:
            job.fail(failure)
