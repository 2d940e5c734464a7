import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchkit import items, values, vectors
from kubeembed_runtime.batcher import FAILURES_TO_DIE, Batcher
from kubeembed_runtime.budget import BATCHES_TO_GROW
from kubeembed_runtime.errors import DeviceFailed, OutOfMemory, QueueFull
from kubeembed_runtime.requests import BatchRun, Item, Output

SECONDS = 10


class Device:
    """Stands in for the encoder: its vector for an item is the item's first id. Runs when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.failures: list[BaseException] = []
        self._begun = threading.Semaphore(0)
        self._permits = threading.Semaphore(0)
        self.held = True

    def __call__(self, items: Sequence[Item]) -> list[Output]:
        self.batches.append([item.ids[0] for item in items])
        self._begun.release()
        if self.held:
            assert self._permits.acquire(timeout=SECONDS)
        if self.failures:
            raise self.failures.pop(0)
        return vectors(items)

    def wait_begun(self) -> None:
        assert self._begun.acquire(timeout=SECONDS)

    def let(self, batches: int = 1) -> None:
        for _ in range(batches):
            self._permits.release()

    def let_all(self) -> None:
        self.held = False
        self.let(1000)


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A batcher with a budget of 10 tokens."""

    def __init__(self, capacity: int = 20) -> None:
        self.device, self.clock, self.runs = Device(), Clock(), list[BatchRun]()
        self.batcher = Batcher(
            self.device, budget=10, capacity=capacity, observe=self.runs.append, clock=self.clock
        )
        self.batcher.start()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.device.let_all()
    rig.batcher.close()


def occupy(rig: Rig) -> None:
    """The device is busy with a batch of one item, 900."""
    rig.batcher.submit(items(1, first=900))
    rig.device.wait_begun()


def test_an_idle_device_starts_at_once_and_a_busy_one_lets_the_queue_grow(rig: Rig) -> None:
    occupy(rig)
    futures = [rig.batcher.submit(items(3, first=n)) for n in (1, 2, 3)]
    rig.device.let_all()
    wait(futures, SECONDS)
    assert rig.device.batches == [[900], [1, 2, 3]]


def test_a_batch_is_the_oldest_items_up_to_the_budget_without_skipping_what_does_not_fit(
    rig: Rig,
) -> None:
    occupy(rig)
    futures = [
        rig.batcher.submit(items(4, first=1)),
        rig.batcher.submit(items(8, first=2)),
        rig.batcher.submit(items(2, first=3)),
        rig.batcher.submit(items(1, first=4)),
    ]
    rig.device.let_all()
    wait(futures, SECONDS)
    assert rig.device.batches == [[900], [1], [2, 3], [4]]


def test_an_item_over_the_budget_runs_alone(rig: Rig) -> None:
    occupy(rig)
    futures = [rig.batcher.submit(items(1, 15, 1, first=1))]
    rig.device.let_all()
    wait(futures, SECONDS)
    assert rig.device.batches == [[900], [1], [2], [3]]


def test_a_request_over_many_batches_comes_back_in_its_order(rig: Rig) -> None:
    rig.device.let_all()
    outputs = rig.batcher.submit(items(*[4] * 5, first=10)).result(SECONDS)
    assert values(outputs) == [10, 11, 12, 13, 14]
    assert rig.device.batches == [[10, 11], [12, 13], [14]]


def test_a_request_without_items_is_answered_without_a_batch(rig: Rig) -> None:
    assert rig.batcher.submit([]).result(SECONDS) == []
    assert rig.device.batches == []


def test_a_cancelled_request_is_dropped_unrun(rig: Rig) -> None:
    occupy(rig)
    gone, kept = rig.batcher.submit(items(3, first=1)), rig.batcher.submit(items(3, first=2))
    assert gone.cancel()
    rig.device.let_all()
    assert values(kept.result(SECONDS)) == [2]
    assert rig.device.batches == [[900], [2]]
    assert rig.batcher.waiting_tokens == 0


def test_a_cancelled_request_takes_no_room_from_those_that_come(rig: Rig) -> None:
    occupy(rig)
    gone = rig.batcher.submit(items(9, 9))
    with pytest.raises(QueueFull):
        rig.batcher.submit(items(9))
    assert gone.cancel()
    assert rig.batcher.waiting_tokens == 0
    kept = rig.batcher.submit(items(9, first=2))
    rig.device.let_all()
    assert values(kept.result(SECONDS)) == [2]


def test_what_is_left_of_a_request_is_dropped_when_it_is_cancelled_half_way(rig: Rig) -> None:
    half = rig.batcher.submit(items(6, 6, 6, first=1))
    rig.device.wait_begun()
    kept = rig.batcher.submit(items(1, first=9))
    assert half.cancel()
    rig.device.let_all()
    assert values(kept.result(SECONDS)) == [9]
    assert rig.device.batches == [[1], [9]]


def test_a_full_queue_refuses_and_says_when_to_come_back(rig: Rig) -> None:
    occupy(rig)
    rig.clock.now += 0.5  # 1 token in 0.5 s: 2 tokens a second
    rig.device.let()
    accepted = rig.batcher.submit(items(5, first=1))
    rig.device.wait_begun()
    waiting = rig.batcher.submit(items(10, 8, first=2))
    with pytest.raises(QueueFull) as refused:
        rig.batcher.submit(items(3))
    assert refused.value.retry_after == pytest.approx(18 / 2)
    assert rig.batcher.waiting_tokens == 18
    rig.device.let_all()
    wait([accepted, waiting], SECONDS)
    assert values(waiting.result()) == [2, 3]


def test_an_empty_queue_takes_a_request_of_any_size(rig: Rig) -> None:
    rig.device.let_all()
    assert values(rig.batcher.submit(items(500, first=7)).result(SECONDS)) == [7]


def test_a_failing_batch_fails_its_requests_and_no_others(rig: Rig) -> None:
    occupy(rig)
    rig.device.let()
    bad = rig.batcher.submit(items(9, first=1))
    rig.device.wait_begun()
    good = rig.batcher.submit(items(9, first=2))
    rig.device.failures.append(ValueError("NaN"))
    rig.device.let_all()
    with pytest.raises(DeviceFailed, match="NaN"):
        bad.result(SECONDS)
    assert values(good.result(SECONDS)) == [2]
    assert rig.batcher.alive


def test_a_failed_half_fails_the_request_and_drops_its_rest(rig: Rig) -> None:
    rig.device.failures.append(ValueError("NaN"))
    rig.device.let_all()
    with pytest.raises(DeviceFailed):
        rig.batcher.submit(items(9, 9, first=1)).result(SECONDS)
    assert values(rig.batcher.submit(items(1, first=5)).result(SECONDS)) == [5]
    assert rig.device.batches == [[1], [5]]


def test_what_is_left_of_a_failed_request_takes_no_room_once_it_is_told(rig: Rig) -> None:
    waiting: list[int] = []
    failed = rig.batcher.submit(items(9, 9, 9, first=1))
    failed.add_done_callback(lambda future: waiting.append(rig.batcher.waiting_tokens))
    rig.device.wait_begun()
    rig.device.failures.append(ValueError("NaN"))
    rig.device.let_all()
    assert isinstance(failed.exception(SECONDS), DeviceFailed)
    rig.batcher.close()
    assert (waiting, rig.device.batches) == ([0], [[1]])


def test_a_part_without_memory_fails_the_request_and_its_other_parts_are_not_run(
    rig: Rig,
) -> None:
    rig.device.failures += [OutOfMemory("8 tokens"), OutOfMemory("4 tokens")]
    rig.device.let_all()
    with pytest.raises(OutOfMemory, match="4 tokens"):
        rig.batcher.submit(items(4, 4, first=1)).result(SECONDS)
    assert values(rig.batcher.submit(items(1, first=5)).result(SECONDS)) == [5]
    assert rig.device.batches == [[1, 2], [1], [5]]


@pytest.mark.parametrize(
    "failures",
    [[SystemExit("gone")], [ValueError("cuda")] * FAILURES_TO_DIE],
    ids=["the thread is killed", "every batch fails"],
)
def test_every_future_ends_when_the_device_dies(failures: list[BaseException]) -> None:
    rig = Rig(capacity=1000)
    rig.device.failures = list(failures)
    futures = [rig.batcher.submit(items(9, first=n)) for n in range(2 + FAILURES_TO_DIE)]
    rig.device.let_all()
    done, unfinished = wait(futures, SECONDS)
    assert not unfinished
    assert all(isinstance(future.exception(), DeviceFailed) for future in done)
    rig.batcher._threads[0].join(SECONDS)
    assert not rig.batcher.alive
    with pytest.raises(DeviceFailed):
        rig.batcher.submit(items(1))


def test_an_encoder_that_loses_an_output_fails_the_request_rather_than_hanging_it() -> None:
    batcher = Batcher(lambda items: [], budget=10, capacity=20)
    batcher.start()
    with pytest.raises(DeviceFailed):
        batcher.submit(items(1)).result(SECONDS)
    batcher._threads[0].join(SECONDS)
    assert not batcher.alive


def test_a_batch_without_memory_is_run_once_more_in_halves_and_the_budget_stays_halved(
    rig: Rig,
) -> None:
    rig.device.failures.append(OutOfMemory("8 tokens"))
    rig.device.let_all()
    assert values(rig.batcher.submit(items(2, 2, 2, 2, first=1)).result(SECONDS)) == [1, 2, 3, 4]
    assert rig.batcher.budget == 5
    assert values(rig.batcher.submit(items(3, 3, first=5)).result(SECONDS)) == [5, 6]
    assert rig.device.batches == [[1, 2, 3, 4], [1, 2], [3, 4], [5], [6]]


def test_what_has_no_memory_the_second_time_fails_and_no_other_request_of_the_batch(
    rig: Rig,
) -> None:
    occupy(rig)
    large, small = rig.batcher.submit(items(5, first=1)), rig.batcher.submit(items(3, first=2))
    rig.device.let()
    rig.device.wait_begun()
    rig.device.failures += [OutOfMemory("8 tokens"), OutOfMemory("5 tokens")]
    rig.device.let_all()
    with pytest.raises(OutOfMemory, match="5 tokens"):
        large.result(SECONDS)
    assert values(small.result(SECONDS)) == [2]
    assert rig.device.batches == [[900], [1, 2], [1], [2]]


def test_inputs_without_memory_never_end_the_device(rig: Rig) -> None:
    rig.device.let_all()
    for n in range(2 * FAILURES_TO_DIE):
        rig.device.failures += [OutOfMemory("9 tokens")] * 2
        with pytest.raises(OutOfMemory):
            rig.batcher.submit(items(9, first=n)).result(SECONDS)
    assert rig.batcher.alive
    assert values(rig.batcher.submit(items(1, first=7)).result(SECONDS)) == [7]


def test_a_halved_budget_grows_back_after_many_good_batches(rig: Rig) -> None:
    rig.device.failures.append(OutOfMemory("8 tokens"))
    rig.device.let_all()
    rig.batcher.submit(items(8)).result(SECONDS)
    assert rig.batcher.budget == 5
    for _ in range(BATCHES_TO_GROW):
        rig.batcher.submit(items(1)).result(SECONDS)
    rig.batcher.close()
    assert rig.batcher.budget == 10


def test_a_device_that_dies_in_a_second_try_ends_every_future() -> None:
    rig = Rig(capacity=1000)
    rig.device.failures = [OutOfMemory("8 tokens"), SystemExit("gone")]
    futures = [rig.batcher.submit(items(8, first=n)) for n in range(3)]
    rig.device.let_all()
    assert not wait(futures, SECONDS).not_done
    assert all(isinstance(future.exception(), DeviceFailed) for future in futures)


REQUESTS = st.lists(st.lists(st.integers(1, 12), max_size=6), max_size=12)
FAILURES = st.lists(st.sampled_from([None, "memory", "broken", "gone"]), max_size=12)


@pytest.mark.parametrize("streams", [1, 3])
@given(REQUESTS, FAILURES)
@settings(max_examples=50, deadline=None)
def test_whatever_fails_every_request_ends_with_its_own_outputs_in_order_or_an_error(
    streams: int, requests: list[list[int]], failures: list[str | None]
) -> None:
    raised = {
        "memory": OutOfMemory("no memory"),
        "broken": ValueError("broken"),
        "gone": SystemExit("gone"),
    }
    planned, lock = iter(failures), threading.Lock()

    def run(given: Sequence[Item]) -> list[Output]:
        with lock:
            failure = next(planned, None)
        if failure is not None:
            raise raised[failure]
        return vectors(given)

    batcher = Batcher(run, budget=10, capacity=10_000, streams=streams)
    futures = [batcher.submit(items(*sizes, first=100 * n)) for n, sizes in enumerate(requests)]
    batcher.start()
    batcher.close()
    for n, (sizes, future) in enumerate(zip(requests, futures, strict=True)):
        error = future.exception(0)
        if error is None:
            assert values(future.result(0)) == [100 * n + index for index in range(len(sizes))]
        else:
            assert isinstance(error, OutOfMemory | DeviceFailed)


def test_closing_runs_what_was_accepted(rig: Rig) -> None:
    occupy(rig)
    futures = [rig.batcher.submit(items(6, first=n)) for n in range(3)]
    rig.device.let_all()
    rig.batcher.close()
    assert [values(future.result(0)) for future in futures] == [[0], [1], [2]]
    assert not rig.batcher.alive
    with pytest.raises(DeviceFailed, match="stopping"):
        rig.batcher.submit(items(1))


def test_each_run_is_counted(rig: Rig) -> None:
    occupy(rig)
    legal: Any = SimpleNamespace(name="legal")
    futures = [
        rig.batcher.submit(items(3, 2, first=1)),
        rig.batcher.submit([Item(ids=[3, 0], adapter=legal)]),
    ]
    rig.clock.now += 0.25
    rig.device.let_all()
    wait(futures, SECONDS)
    rig.batcher.close()
    assert rig.runs == [
        BatchRun(
            items=1,
            tokens={"": 1},
            fill=0.1,
            device_seconds=0.25,
            queue_seconds=[("", 0.0)],
            failed=False,
        ),
        BatchRun(
            items=3,
            tokens={"": 5, "legal": 2},
            fill=0.7,
            device_seconds=0.0,
            queue_seconds=[("", 0.25), ("legal", 0.25)],
            failed=False,
        ),
    ]
