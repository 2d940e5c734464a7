"""Two batches at once on one device: what each is given, and that every request still ends, in its order."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from batchkit import items, values, vectors
from kubeembed_api.document import parse
from kubeembed_runtime.batcher import FAILURES_TO_DIE, Batcher
from kubeembed_runtime.errors import DeviceFailed, OutOfMemory
from kubeembed_runtime.model import streams as module
from kubeembed_runtime.model.bert import Bert
from kubeembed_runtime.model.encoder import load
from kubeembed_runtime.model.streams import STREAMS, gain, preparing, streams, warm
from kubeembed_runtime.requests import Item, Output
from nodekit import until

SECONDS = 10


class Device:
    """Runs a batch once its first item's number is let; each of them tells how it was prepared."""

    def __init__(self) -> None:
        self.prepared: list[tuple[int, bool]] = []
        self.failures: dict[int, BaseException] = {}
        self.most = self._running = 0
        self._begun: dict[int, threading.Event] = {}
        self._let: dict[int, threading.Event] = {}
        self._lock = threading.Lock()

    def _event(self, events: dict[int, threading.Event], number: int) -> threading.Event:
        with self._lock:
            return events.setdefault(number, threading.Event())

    def prepare(self, stream: int, alone: bool) -> None:
        with self._lock:
            self.prepared.append((stream, alone))

    def __call__(self, given: Sequence[Item]) -> list[Output]:
        number = given[0].ids[0]
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
        self._event(self._begun, number).set()
        assert self._event(self._let, number).wait(SECONDS)
        with self._lock:
            self._running -= 1
        if number in self.failures:
            raise self.failures.pop(number)
        return vectors(given)

    def wait_begun(self, *numbers: int) -> None:
        for number in numbers:
            assert self._event(self._begun, number).wait(SECONDS)

    def let(self, *numbers: int) -> None:
        for number in numbers:
            self._event(self._let, number).set()


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def batcher(device: Device) -> Iterator[Batcher]:
    batcher = Batcher(device, budget=10, capacity=1000, streams=2, prepare=device.prepare)
    batcher.start()
    yield batcher
    device.let(*range(1000))
    batcher.close()


def test_two_batches_run_at_once_and_a_third_waits(device: Device, batcher: Batcher) -> None:
    futures = [batcher.submit(items(9, first=n)) for n in (1, 2, 3)]
    device.wait_begun(1, 2)
    assert batcher.waiting_tokens == 9
    device.let(2)
    device.wait_begun(3)
    device.let(1, 3)
    assert [values(future.result(SECONDS)) for future in futures] == [[1], [2], [3]]
    assert device.most == 2


def test_only_a_batch_beside_which_nothing_runs_or_waits_has_the_device_alone(
    device: Device, batcher: Batcher
) -> None:
    first = batcher.submit(items(9, first=1))
    device.wait_begun(1)
    second = batcher.submit(items(9, first=2))
    device.wait_begun(2)
    device.let(1, 2)
    wait([first, second], SECONDS)
    assert device.prepared == [(0, True), (1, False)]


def test_batches_that_come_one_by_one_are_all_of_the_first_stream(
    device: Device, batcher: Batcher
) -> None:
    for number in range(1, 20):
        device.let(number)
        assert values(batcher.submit(items(9, first=number)).result(SECONDS)) == [number]
        until("the stream is free", lambda: not batcher._streams.busy, SECONDS)
    assert device.prepared == [(0, True)] * 19


def test_the_first_stream_that_is_free_takes_the_next(device: Device, batcher: Batcher) -> None:
    futures = [batcher.submit(items(9, first=n)) for n in (1, 2)]
    device.wait_begun(1, 2)
    device.let(1)
    futures[0].result(SECONDS)
    futures.append(batcher.submit(items(9, first=3)))
    device.wait_begun(3)
    device.let(2, 3)
    wait(futures, SECONDS)
    assert device.prepared[2] == (0, False)


@pytest.mark.parametrize("ends", [(1, 2), (2, 1)], ids=["first", "second"])
def test_beside_a_running_batch_one_is_taken_that_is_large_enough(
    device: Device, ends: tuple[int, int]
) -> None:
    """And a smaller one when no other runs, whichever of them ended first."""
    batcher = Batcher(device, budget=10, capacity=1000, streams=2, beside=10)
    batcher.start()
    running = {1: batcher.submit(items(4, first=1))}
    device.wait_begun(1)
    running[2] = batcher.submit(items(9, first=2))
    assert batcher.waiting_tokens == 9
    other = batcher.submit(items(1, first=3))
    device.wait_begun(2)
    assert batcher.waiting_tokens == 0
    last = batcher.submit(items(9, first=4))
    device.let(ends[0])
    assert values(running[ends[0]].result(SECONDS)) == [ends[0]]
    assert batcher.waiting_tokens == 9
    device.let(ends[1])
    device.wait_begun(4)
    device.let(4)
    assert [values(each.result(SECONDS)) for each in (other, last)] == [[3], [4]]
    batcher.close()


@pytest.mark.parametrize(("patience", "taken"), [(3600.0, 4), (1e-9, 3)])
def test_a_batch_is_as_large_as_one_beside_it_that_will_end_soon(
    device: Device, patience: float, taken: int
) -> None:
    """The first batch shows how fast the device is. taken: with which request the second begins."""
    batcher = Batcher(
        device, budget=10, capacity=1000, streams=2, patience=patience, prepare=device.prepare
    )
    batcher.start()
    device.let(1)
    batcher.submit(items(4, first=1)).result(SECONDS)
    until("the stream is free", lambda: not batcher._streams.busy, SECONDS)
    futures = [batcher.submit(items(4, first=2))]
    device.wait_begun(2)
    futures.append(batcher.submit(items(3, first=3)))
    if taken == 4:
        assert batcher.waiting_tokens == 3
        futures.append(batcher.submit(items(1, first=4)))
    device.wait_begun(3)
    assert batcher.waiting_tokens == 0
    device.let(2, 3)
    assert [values(each.result(SECONDS)) for each in futures] == [[n] for n in range(2, taken + 1)]
    assert len(device.prepared) == 3
    batcher.close()


def test_who_met_another_has_the_device_alone_the_second_time_that_nobody_is_there(
    device: Device, batcher: Batcher
) -> None:
    met = [batcher.submit(items(9, first=n)) for n in (1, 2)]
    device.wait_begun(1, 2)
    device.let(1, 2)
    wait(met, SECONDS)
    for number in (3, 4):
        until("both streams are free", lambda: not batcher._streams.busy, SECONDS)
        device.let(number)
        assert values(batcher.submit(items(9, first=number)).result(SECONDS)) == [number]
    assert device.prepared[2:] == [(0, False), (0, True)]


def test_a_request_over_two_streams_meets_nobody(device: Device, batcher: Batcher) -> None:
    device.let(1, 2, 3)
    batcher.submit(items(9, 9, first=1)).result(SECONDS)
    until("both streams are free", lambda: not batcher._streams.busy, SECONDS)
    batcher.submit(items(9, first=3)).result(SECONDS)
    assert device.prepared[2] == (0, True)


def test_closing_runs_what_had_waited_for_more_to_come(device: Device) -> None:
    batcher = Batcher(device, budget=10, capacity=1000, streams=2, beside=10)
    batcher.start()
    running = batcher.submit(items(4, first=1))
    device.wait_begun(1)
    second = batcher.submit(items(4, first=2))
    device.let(1, 2)
    batcher.close()
    assert [values(each.result(0)) for each in (running, second)] == [[1], [2]]


def test_a_request_over_two_streams_comes_back_in_its_order(
    device: Device, batcher: Batcher
) -> None:
    future = batcher.submit(items(9, 9, 9, first=1))
    device.wait_begun(1, 2)
    device.let(2, 3)
    device.wait_begun(3)
    device.let(1)
    assert values(future.result(SECONDS)) == [1, 2, 3]


def test_a_request_of_which_both_halves_fail_ends_once(device: Device, batcher: Batcher) -> None:
    device.failures = {1: ValueError("one"), 2: ValueError("two")}
    future = batcher.submit(items(9, 9, first=1))
    device.wait_begun(1, 2)
    device.let(2)
    with pytest.raises(DeviceFailed, match="two"):
        future.result(SECONDS)
    device.let(1, 5)
    assert values(batcher.submit(items(1, first=5)).result(SECONDS)) == [5]
    assert batcher.alive


def test_streams_without_memory_at_the_same_time_halve_the_budget_once(
    device: Device, batcher: Batcher
) -> None:
    device.failures = {1: OutOfMemory("9 tokens"), 2: OutOfMemory("9 tokens")}
    futures = [batcher.submit(items(9, first=n)) for n in (1, 2)]
    device.wait_begun(1, 2)
    device.let(1, 2)
    assert [values(future.result(SECONDS)) for future in futures] == [[1], [2]]
    assert batcher.budget == 5


@pytest.mark.parametrize(
    "failure", [SystemExit("gone"), ValueError("broken")], ids=["killed", "broken"]
)
def test_when_one_stream_dies_the_other_answers_what_it_runs_and_no_more(
    device: Device, batcher: Batcher, failure: BaseException
) -> None:
    broken = range(10, 10 + (FAILURES_TO_DIE if isinstance(failure, ValueError) else 1))
    running = batcher.submit(items(9, first=1))
    device.wait_begun(1)
    device.failures = dict.fromkeys(broken, failure)
    dying = [batcher.submit(items(9, first=n)) for n in broken]
    waiting = batcher.submit(items(9, first=50))
    device.let(*broken)
    for future in (*dying, waiting):
        assert isinstance(future.exception(SECONDS), DeviceFailed)
    assert not batcher.alive
    device.let(1)
    assert values(running.result(SECONDS)) == [1]
    with pytest.raises(DeviceFailed):
        batcher.submit(items(1))


def test_closing_runs_what_was_accepted_on_both(device: Device) -> None:
    device.let(*range(100))
    batcher = Batcher(device, budget=10, capacity=1000, streams=2)
    futures = [batcher.submit(items(6, 6, first=2 * n)) for n in range(8)]
    batcher.start()
    batcher.close()
    assert [values(future.result(0)) for future in futures] == [
        [2 * n, 2 * n + 1] for n in range(8)
    ]


@pytest.mark.parametrize(
    ("device", "body", "threads", "count"),
    [
        ("cpu", Bert, 1, 1),
        ("cpu", Bert, 2, 2),
        ("cpu", Bert, 8, 2),
        ("cpu", object, 8, 1),
        ("cuda", Bert, 1, 2),
        ("cuda", object, 8, 1),
    ],
)
def test_two_streams_are_for_a_body_that_keeps_nothing(
    device: str, body: type[Any], threads: int, count: int
) -> None:
    encoder: Any = SimpleNamespace(device=torch.device(device), body=object.__new__(body))
    assert streams(encoder, threads) == count


class Gpu:
    """An encoder on a GPU that is not there."""

    device = torch.device("cuda")
    recipe: Any = SimpleNamespace(
        max_tokens=SimpleNamespace(value=512), outputs=SimpleNamespace(value=("dense", "sparse"))
    )

    def __init__(self) -> None:
        self.body: Any = object.__new__(Bert)
        self.body.words = torch.zeros(100, 1)
        self.warmed: list[int] = []
        self.ran: list[list[tuple[int, Sequence[str]]]] = []

    def warm_up(self, budget: int) -> None:
        self.warmed.append(budget)

    def __call__(self, given: Sequence[Item]) -> None:
        self.ran.append([(item.tokens, item.outputs) for item in given])


@pytest.mark.parametrize(("found", "count"), [(1.2, 2), (1.0, 1)])
def test_a_gpu_has_two_streams_where_they_are_faster(
    found: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[int] = []
    monkeypatch.setattr(
        module, "preparing", lambda *_: lambda stream, alone: prepared.append(stream)
    )
    monkeypatch.setattr(module, "gain", lambda *_: found)
    encoder: Any = Gpu()
    assert warm(encoder, 1, 1024).count == count
    assert (prepared, encoder.warmed) == ([1, 0], [1024, 1024])


def test_that_is_told_from_full_batches_on_one_stream_and_on_both() -> None:
    prepared: list[int] = []
    encoder: Any = Gpu()
    assert gain(encoder, lambda stream, alone: prepared.append(stream), 1024) > 0
    assert sorted(prepared) == [0] * 4 + [1] * 2
    assert encoder.ran == [[(128, ("dense",))] * 8] * 16


def test_streams_share_the_threads_and_a_lone_batch_has_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    prepare = preparing(torch.device("cpu"), 5, 2)
    for stream, alone in ((0, False), (1, False), (0, True), (1, True)):
        prepare(stream, alone)
    assert told == [3, 2, 5, 5]


def test_every_stream_is_warmed_up_and_the_first_one_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    encoder: Any = SimpleNamespace(
        device=torch.device("cpu"), body=object.__new__(Bert), warm_up=lambda n: told.append("warm")
    )
    found = warm(encoder, 3, 512)
    assert (found.count, told) == (2, [3, "warm", 3, "warm"])


@pytest.mark.gpu
def test_two_streams_of_a_gpu_give_what_one_gives(
    minilm: Path, document: Callable[..., dict[str, Any]]
) -> None:
    """Small batches, which are replayed, and large ones beside each other, many times."""
    encoder = load(minilm, parse(document(minilm, dtype="bfloat16")), 1)
    mixed = [[Item(ids=[1000 + n] * (5 + 9 * n))] * (1 + n * n) for n in range(1, 14)]
    encoder.warm_up(4096)
    alone = [encoder(each)[0].dense for each in mixed]
    prepare = preparing(encoder.device, 1, STREAMS)
    assert gain(encoder, prepare, 4096) > 0
    batcher = Batcher(encoder, budget=4096, capacity=10**9, streams=STREAMS, prepare=prepare)
    batcher.start()
    futures = [(n, batcher.submit(mixed[n])) for _ in range(40) for n in range(len(mixed))]
    for n, future in futures:
        for output in future.result(60):
            assert float((output.dense * alone[n]).sum()) >= 0.9995  # type: ignore[operator]
    batcher.close()
