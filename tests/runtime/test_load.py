"""What /load is made of: the device's sums, as any thread reads them, and the requests in hand."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from kubeembed_runtime.batcher import Batcher
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.requests import Item, Output
from kubeembed_runtime.traffic import Traffic
from kubeembed_runtime.usage import Meter, Usage
from pipelinekit import run


class Clock:
    """Of tests: it stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def item(tokens: int) -> Item:
    return Item(ids=[7] * tokens, outputs=("dense",))


def test_the_batch_that_runs_counts_up_to_now() -> None:
    clock = Clock()
    meter = Meter(clock)
    begun = meter.begin()
    clock.now = 103.0
    assert meter.read(5) == Usage(busy_seconds=3.0, tokens=0, queued_tokens=5)
    clock.now = 103.5
    assert meter.end(begun, 40) == 3.5
    clock.now = 110.0
    assert meter.read(0) == Usage(busy_seconds=3.5, tokens=40, queued_tokens=0)


def test_batches_side_by_side_share_the_seconds_of_the_device() -> None:
    clock = Clock()
    meter = Meter(clock)
    first = meter.begin()
    clock.now = 102.0
    second = meter.begin()
    clock.now = 106.0
    assert meter.end(first, 10) == 2.0 + 4.0 / 2
    clock.now = 107.0
    assert meter.end(second, 20) == 4.0 / 2 + 1.0
    clock.now = 120.0
    assert meter.read(0) == Usage(busy_seconds=7.0, tokens=30, queued_tokens=0)


def test_a_batch_that_fails_takes_time_and_gives_no_tokens() -> None:
    clock = Clock()

    def fail(items: Sequence[Item]) -> list[Output]:
        clock.now += 2.0
        raise ValueError("no")

    batcher = Batcher(fail, budget=10, capacity=100, clock=clock)
    batcher.start()
    with pytest.raises(Exception, match="no"):
        batcher.submit([item(4)]).result(10)
    batcher.close()
    assert batcher.usage == Usage(busy_seconds=2.0, tokens=0, queued_tokens=0)


def test_what_waits_behind_a_long_batch_is_seen_from_another_thread() -> None:
    clock, running, go_on = Clock(), threading.Event(), threading.Event()

    def slow(items: Sequence[Item]) -> list[Output]:
        running.set()
        assert go_on.wait(10)
        return run(items)

    batcher = Batcher(slow, budget=10, capacity=100, clock=clock)
    batcher.start()
    first = batcher.submit([item(10)])
    assert running.wait(10)
    second = batcher.submit([item(8)])
    clock.now += 4.0
    assert batcher.usage == Usage(busy_seconds=4.0, tokens=0, queued_tokens=8)
    go_on.set()
    first.result(10), second.result(10)
    batcher.close()
    assert batcher.usage == Usage(busy_seconds=4.0, tokens=18, queued_tokens=0)


def test_idle_time_counts_from_the_last_answer_and_not_while_one_is_owed() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    clock.now = 110.0
    traffic.ready()
    clock.now = 115.0
    assert (traffic.in_flight, traffic.idle_seconds) == (0, 5.0)
    traffic.begin()
    traffic.begin()
    clock.now = 120.0
    traffic.end()
    assert (traffic.in_flight, traffic.idle_seconds) == (1, 0.0)
    traffic.end()
    clock.now = 121.0
    assert (traffic.in_flight, traffic.idle_seconds) == (0, 1.0)


async def test_requests_keep_a_model_awake_and_health_checks_do_not(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any
) -> None:
    clock = Clock()
    lifecycle.traffic = Traffic(clock)
    clock.now = 130.0
    for path in ("/health", "/ping", "/", "/nowhere"):
        await client.get(path)
    assert lifecycle.traffic.idle_seconds == 30.0
    fake_model.gate = asyncio.Event()
    body = {"model": "minilm", "input": "a text"}
    asked = asyncio.create_task(client.post("/v1/embeddings", json=body))
    while not fake_model.asked:
        await asyncio.sleep(0)
    assert lifecycle.traffic.in_flight == 1
    fake_model.gate.set()
    assert (await asked).status_code == 200
    assert (lifecycle.traffic.in_flight, lifecycle.traffic.idle_seconds) == (0, 0.0)
    clock.now = 131.0
    assert (await client.post("/v1/embeddings", json={})).status_code == 400
    assert lifecycle.traffic.idle_seconds == 0.0
