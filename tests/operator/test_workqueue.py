"""The queue of models, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kubeembed_operator.workqueue import GATHER, TryAgain, WorkQueue

Key = tuple[str, str]

pytestmark = [pytest.mark.looptime]


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def working(queue: WorkQueue[Key], handler: Callable[[Key], Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run(handler))
    yield
    queue.stop()
    await task


async def test_a_burst_of_events_makes_one_pass() -> None:
    queue: WorkQueue[Key] = WorkQueue(2)
    passes: list[Key] = []

    async def handler(key: Key) -> None:
        passes.append(key)

    async with working(queue, handler):
        for _ in range(10):
            queue.add(("n", "a"))
        assert len(queue) == 1
        await asyncio.sleep(1)
    assert passes == [("n", "a")]


async def test_a_key_is_never_worked_on_twice_at_once_and_no_event_is_lost() -> None:
    queue: WorkQueue[Key] = WorkQueue(4)
    at_once, most, passes = 0, 0, 0

    async def handler(key: Key) -> None:
        nonlocal at_once, most, passes
        at_once, passes = at_once + 1, passes + 1
        most = max(most, at_once)
        await asyncio.sleep(5)
        at_once -= 1

    async with working(queue, handler):
        queue.add(("n", "a"))
        await asyncio.sleep(1)
        queue.add(("n", "a"))
        await asyncio.sleep(20)
    assert (most, passes) == (1, 2)


async def test_no_more_keys_at_once_than_allowed() -> None:
    queue: WorkQueue[Key] = WorkQueue(3)
    most = 0

    async def handler(key: Key) -> None:
        nonlocal most
        most = max(most, queue.running)
        await asyncio.sleep(1)

    async with working(queue, handler):
        for number in range(10):
            queue.add(("n", str(number)))
        await asyncio.sleep(10)
    assert most == 3
    assert len(queue) == 0


async def test_a_failure_is_repeated_later_and_later_until_it_succeeds() -> None:
    queue: WorkQueue[Key] = WorkQueue(1)
    times: list[float] = []

    async def handler(key: Key) -> None:
        times.append(now())
        if len(times) < 5:
            raise TryAgain("not yet")

    async with working(queue, handler):
        start = now()
        queue.add(("n", "a"), after=0)
        await asyncio.sleep(60)
    waits = [round(b - a, 3) for a, b in zip([start, *times], times, strict=False)]
    assert waits == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert queue.backoff(("n", "a")) == 0.5


async def test_the_wait_has_a_cap() -> None:
    queue: WorkQueue[Key] = WorkQueue(1)
    assert [queue.backoff(("n", "a")) for _ in range(9)][-2:] == [60.0, 60.0]


async def test_a_bug_in_one_pass_ends_neither_the_queue_nor_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue: WorkQueue[Key] = WorkQueue(1)
    passes = 0

    async def handler(key: Key) -> None:
        nonlocal passes
        passes += 1
        if passes == 1:
            raise ZeroDivisionError

    async with working(queue, handler):
        queue.add(("n", "a"))
        await asyncio.sleep(5)
    assert passes == 2
    assert "reconcile of n/a failed" in caplog.text


async def test_a_handler_can_ask_for_another_pass_and_an_event_comes_first() -> None:
    queue: WorkQueue[Key] = WorkQueue(1)
    times: list[float] = []

    async def handler(key: Key) -> float | None:
        times.append(now())
        return 30.0 if len(times) < 3 else None

    async with working(queue, handler):
        start = now()
        queue.add(("n", "a"), after=0)
        await asyncio.sleep(10)
        queue.add(("n", "a"))
        await asyncio.sleep(100)
    assert [round(each - start, 3) for each in times] == [0.0, 10 + GATHER, 40 + GATHER]


async def test_stopping_lets_what_is_in_hand_finish_and_starts_nothing() -> None:
    queue: WorkQueue[Key] = WorkQueue(1)
    finished: list[Key] = []

    async def handler(key: Key) -> None:
        await asyncio.sleep(5)
        finished.append(key)

    async with working(queue, handler):
        queue.add(("n", "a"), after=0)
        queue.add(("n", "b"), after=0)
        await asyncio.sleep(1)
    assert finished == [("n", "a")]
