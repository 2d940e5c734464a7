"""What waits for the device, and whose turn it is. Not safe across threads by itself: the batcher's lock is.

The rule: adapters take turns, requests without one being one of them; and within an adapter its requests
take turns, a new one last. A turn is the request's next items, up to a quarter of the budget, at least one.
A batch is as many turns as fit, and the first is the oldest request's; or, if the next in turn did not fit
beside that, of the next in turn. The oldest's is out of turn: it is its adapter's turn only if it ends the
request, or the adapter has no other.

So a small request waits for two turns at most of each that came before it in its adapter; before each of
these, and before its own, for one of each other adapter; and for as many of these again, and one, that open
batches. That is so however long the requests are, and however many come later. The oldest, if it is a huge
one, goes on at least with every other batch.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from kubeembed_runtime.requests import Item, Output

#: Turns of huge requests that fill a batch. Few, and a small request waits long; many, and each of several
#: requests that would have been answered one after the other is answered last.
TURNS_PER_BATCH = 4


@dataclass(slots=True, kw_only=True, eq=False, weakref_slot=True)
class Job:
    """A submitted request: how far it has been batched, and what has come back.

    `put`, `fail` and `finish` may be called by several device threads at once: the first to end it does.
    """

    items: Sequence[Item]
    submitted: float
    future: "Future[list[Output]]" = field(default_factory=Future)
    taken: int = 0
    started: bool = False
    observe: Callable[[float], None] = lambda seconds: None  # told how long it has waited
    tokens: int = field(init=False)  # of what has not been taken
    _outputs: list[Output | None] = field(init=False)
    _missing: int = field(init=False)
    _ended: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.tokens = sum(item.tokens for item in self.items)
        self._outputs = [None] * len(self.items)
        self._missing = len(self.items)

    @property
    def adapter(self) -> str | None:
        """The name of the adapter that all its items have, if any."""
        adapter = self.items[0].adapter if self.items else None
        return None if adapter is None else adapter.name

    @property
    def next(self) -> Item | None:
        return self.items[self.taken] if self.taken < len(self.items) else None

    def take(self) -> "Slot":
        slot = Slot(self, self.taken)
        self.taken += 1
        self.tokens -= slot.item.tokens
        return slot

    def start(self, now: float) -> float:
        """Its first batch begins. Returns how long it has waited for it."""
        self.started = True
        waited = now - self.submitted
        self.observe(waited)
        return waited

    def fail(self, error: Exception) -> None:
        if self._end():
            self.future.set_exception(error)

    def put(self, index: int, output: Output) -> None:
        with self._lock:
            self._outputs[index] = output
            self._missing -= 1
            complete = self._missing == 0
        if complete:
            self.finish()

    def finish(self) -> None:
        if self._end():
            self.future.set_result([output for output in self._outputs if output is not None])

    def _end(self) -> bool:
        """True for who may end the future: the first to ask, unless it was cancelled."""
        with self._lock:
            first, self._ended = not self._ended, True
        return first and self.future.set_running_or_notify_cancel()


class Slot(NamedTuple):
    """An item's place in a batch: the `place`th of its job."""

    job: Job
    place: int

    @property
    def item(self) -> Item:
        return self.job.items[self.place]


class Queue:
    """Requests by adapter. What it costs to add, take or drop one does not depend on how many wait."""

    def __init__(self) -> None:
        self.tokens = 0
        self._arrived: OrderedDict[Job, None] = OrderedDict()
        #: By the adapter's name; the first of each has the next turn.
        self._turns: OrderedDict[str | None, OrderedDict[Job, None]] = OrderedDict()
        self._crowded_out = False  # the next in turn did not fit beside the oldest

    def add(self, job: Job) -> None:
        """A request without items is finished at once."""
        if not job.items:
            job.finish()
            return
        self.tokens += job.tokens
        self._arrived[job] = None
        self._turns.setdefault(job.adapter, OrderedDict())[job] = None

    def clear(self) -> list[Job]:
        """Empties it; returns what was in it."""
        jobs = list(self._arrived)
        for job in jobs:
            self.drop(job)
        return jobs

    def drop(self, job: Job) -> None:
        """What of it still waits, if any does; its adapter too if it was its last."""
        if job not in self._arrived:
            return
        self.tokens -= job.tokens
        del self._arrived[job]
        jobs = self._turns[job.adapter]
        del jobs[job]
        if not jobs:
            del self._turns[job.adapter]

    def take(self, budget: int) -> list[Slot]:
        """The next batch."""
        batch: list[Slot] = []
        room, turns = budget, 0
        by_age, self._crowded_out = not self._crowded_out, False
        while (job := self._next(by_age=by_age and not batch)) is not None:
            taken = self._turn(job, room, budget, opens=not batch)
            if not taken:
                # Only after a batch that the oldest opened: it opens every other one at least.
                self._crowded_out = by_age and turns == 1
                break
            self._pass_on(job, by_age=by_age and not batch)
            batch += taken
            room, turns = room - sum(slot.item.tokens for slot in taken), turns + 1
        return batch

    def _next(self, *, by_age: bool) -> Job | None:
        """Whose turn it is."""
        if by_age or not self._turns:
            return next(iter(self._arrived), None)
        return next(iter(next(iter(self._turns.values()))))

    def _turn(self, job: Job, room: int, budget: int, *, opens: bool) -> list[Slot]:
        """The job's next items; none if the first does not fit, which that of a new batch always does."""
        share, taken = budget // TURNS_PER_BATCH, list[Slot]()
        while (item := job.next) is not None:
            fits = item.tokens <= room or (opens and not taken)
            if not fits or (taken and item.tokens > share):
                break
            taken.append(job.take())
            self.tokens -= item.tokens
            room, share = room - item.tokens, share - item.tokens
        return taken

    def _pass_on(self, job: Job, *, by_age: bool) -> None:
        """The next turn is another adapter's, and in this one another request's.

        Unless the oldest opened the batch and goes on: were that its adapter's turn each time, the others of
        the adapter would wait until it ends.
        """
        jobs = self._turns[job.adapter]
        jobs.move_to_end(job)
        if not by_age or job.next is None or len(jobs) == 1:
            self._turns.move_to_end(job.adapter)
        if job.next is None:
            self.drop(job)


def tokens_by_adapter(batch: Sequence[Slot]) -> dict[str, int]:
    """As BatchRun has them."""
    tokens: dict[str, int] = {}
    for slot in batch:
        name = slot.job.adapter or ""
        tokens[name] = tokens.get(name, 0) + slot.item.tokens
    return tokens


def parts(batch: Sequence[Slot], budget: int) -> list[list[Slot]]:
    """The batch, in its order, in parts of at most `budget` tokens, or of one item."""
    found: list[list[Slot]] = []
    room = 0
    for slot in batch:
        if not found or slot.item.tokens > room:
            found.append([])
            room = budget
        found[-1].append(slot)
        room -= slot.item.tokens
    return found
