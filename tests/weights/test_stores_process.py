"""The fetch from a store as kubelet runs it: killed half-way, two at once, its memory."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storekit import Bucket
from weightskit import (
    MEASURE,
    MEMORY_LIMIT_KIB,
    TOTAL,
    WEIGHTS,
    WEIGHTS_BYTES,
    Command,
    document,
    eventually,
    on_disk,
)

pytestmark = pytest.mark.stores

HALF = WEIGHTS_BYTES // 2


@pytest.fixture
def fetching(tmp_path: Path, keys: dict[str, str]) -> Iterator[Command]:
    command = Command(tmp_path, keys)
    yield command
    for process in command.running:
        process.kill()
        process.communicate()


def test_killed_half_way_the_next_run_fetches_the_rest(
    bucket: Bucket, fetching: Command, folder: Path, root: Path
) -> None:
    bucket.proxy.fault(path=f"*/{WEIGHTS}", count=1, stall=HALF)
    killed = fetching.fetch(root, told=document(**bucket.fields))
    here = TOTAL - WEIGHTS_BYTES + HALF
    eventually(lambda: on_disk(root) == here, "half of the weights on disk")
    killed.kill()
    killed.wait()
    bucket.proxy.faults.clear()
    bucket.proxy.log.clear()
    ended = fetching.end(fetching.fetch(root, told=document(**bucket.fields)))
    assert (ended.report["reason"], ended.report["fetchedBytes"]) == ("Fetched", TOTAL - here)
    assert bucket.sent() == TOTAL - here
    assert bucket.ranges(WEIGHTS) == [f"bytes={HALF}-"]
    copy = root / str(ended.report["key"])
    assert (copy / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


def test_of_two_at_once_one_fetches_and_the_other_waits(
    bucket: Bucket, fetching: Command, root: Path
) -> None:
    bucket.proxy.fault(path=f"*/{WEIGHTS}", count=1, stall=HALF)
    first = fetching.fetch(root, told=document(**bucket.fields))
    eventually(lambda: on_disk(root) == TOTAL - WEIGHTS_BYTES + HALF, "half of the weights")
    second = fetching.fetch(root, told=document(**bucket.fields))
    assert second.stderr is not None
    assert any("waiting for it" in line for line in second.stderr)
    bucket.proxy.faults.clear()
    first_report, second_report = fetching.end(first).report, fetching.end(second).report
    assert first_report["fetchedBytes"] == TOTAL
    assert second_report["fetchedBytes"] == 0
    assert first_report["key"] == second_report["key"]
    assert bucket.sent() <= TOTAL + WEIGHTS_BYTES - HALF  # the stalled body was broken off


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_memory_does_not_grow_with_the_weights(
    bucket: Bucket, fetching: Command, root: Path
) -> None:
    for number in range(4):
        bucket.put(f"model-{number}.safetensors", os.urandom(1) * (50 << 20))
    process = fetching.fetch(
        root, told=document(**bucket.fields), before=[sys.executable, "-c", MEASURE]
    )
    out, log = process.communicate(timeout=60)
    assert 0 < int(out or 0) < MEMORY_LIMIT_KIB, log
    assert bucket.sent() == TOTAL + (200 << 20)
