"""Hostile clients beside good ones: theirs are right, nothing fails uncaused, memory and files come back.

KUBEEMBED_HOSTILE_SECONDS=600 .venv/bin/pytest tests/robustness/test_hostile_mix.py -s
is the long one. It prints how long good requests took without and within the mix, which nothing asserts.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hostilekit import attack
from runtimekit import Process, document, launch, minilm_folder
from wirekit import Reply, connected, embeddings

SECONDS = float(os.environ.get("KUBEEMBED_HOSTILE_SECONDS", "15"))
QUIET_SECONDS = max(4.0, SECONDS / 10)
GOOD, HOSTILE = 4, 6
MIB = 2**20

#: What allocators keep of the largest moment, for each of two device threads: the same after a mix of 15 s as
#: after one six times as long.
KEPT_BYTES = 96 * MIB

TEXTS = [f"{'a passage of some length ' * repeats}number {repeats}" for repeats in (0, 1, 4, 12)]

#: What a client may be told, whatever it sends.
STATUSES = {200, 400, 404, 405, 408, 413, 415, 422, 424, 429, 431, 503}

pytestmark = pytest.mark.timeout(300 + 2 * SECONDS)

Vectors = NDArray[np.float32]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = launch(tmp_path, document(minilm_folder(), dtype="float32"))
    yield process.until_ready()
    process.end()


@dataclass(slots=True)
class Seen:
    """Of good clients: seconds. Of hostile ones: attack and status."""

    seconds: list[float] = field(default_factory=list)
    told: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def hostile(self, name: str, reply: Reply) -> None:
        self.told[name, reply.status] += 1
        caused = reply.status == 503 and "retry-after" in reply.headers
        if reply.status not in STATUSES or (reply.status >= 500 and not caused):
            self.wrong.append(f"{name}: {reply.status} {reply.body[:200]!r}")

    def percentile(self, share: float) -> float:
        return float(np.quantile(self.seconds, share)) * 1000


async def test_good_clients_are_served_right_beside_hostile_ones(process: Process) -> None:
    await _compile_kernels(process.port)
    expected = await _ask_all(process.port)
    quiet, mix = Seen(), Seen()
    await _good_for(process.port, QUIET_SECONDS, expected, quiet)
    memory, files = _resident(process), _files(process)
    stop, dice = asyncio.Event(), random.Random(0)
    hostile = [
        asyncio.create_task(attack(process.port, random.Random(dice.random()), stop, mix.hostile))
        for _ in range(HOSTILE)
    ]
    await _good_for(process.port, SECONDS, expected, mix)
    most = _resident(process)
    stop.set()
    await asyncio.gather(*hostile)
    await _until_files(process, files)
    await _good_for(process.port, 2.0, expected, Seen())
    left = _resident(process)
    _tell(quiet, mix, memory, most, left)
    assert mix.wrong == []
    assert len({name for name, _ in mix.told}) >= 7
    assert left - memory < KEPT_BYTES
    assert process.admin("/readyz")[0] == 200
    assert "Traceback" not in process.log.read_text()


async def _good_for(port: int, seconds: float, expected: list[Vectors], seen: Seen) -> None:
    end = time.monotonic() + seconds
    await asyncio.gather(*(_good(port, end, expected, seen, turn) for turn in range(GOOD)))


async def _good(port: int, end: float, expected: list[Vectors], seen: Seen, turn: int) -> None:
    """One client on a kept connection, which has what it had when all was quiet."""
    async with connected(port, limit=2**20) as wire:
        while time.monotonic() < end:
            place = turn % len(TEXTS)
            begun = time.perf_counter()
            await wire.send(embeddings("minilm", TEXTS[place]))
            reply = await wire.reply()
            seen.seconds.append(time.perf_counter() - begun)
            assert reply is not None
            np.testing.assert_allclose(_vector(reply), expected[place], atol=1e-5)
            turn += 1


async def _compile_kernels(port: int) -> None:
    """Batches of every number of rows that kernels are compiled for: they stay, and are no leak."""
    async with connected(port, limit=2**24) as wire:
        for texts in (
            *range(1, 23),
            *range(25, 90, 5),
            *range(90, 171, 10),
        ):  # of three tokens each
            await wire.send(embeddings("minilm", ["a"] * texts))
            assert (reply := await wire.reply()) is not None
            assert reply.status == 200, reply.body[:300]


async def _ask_all(port: int) -> list[Vectors]:
    async with connected(port, limit=2**20) as wire:
        found = []
        for text in TEXTS:
            await wire.send(embeddings("minilm", text))
            reply = await wire.reply()
            assert reply is not None
            found.append(_vector(reply))
        return found


def _vector(reply: Reply) -> Vectors:
    assert reply.status == 200, reply.body[:300]
    return np.array(json.loads(reply.body)["data"][0]["embedding"], np.float32)


def _resident(process: Process) -> int:
    """Bytes."""
    lines = Path(f"/proc/{process.popen.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) * 1024


def _files(process: Process) -> int:
    return len(list(Path(f"/proc/{process.popen.pid}/fd").iterdir()))


async def _until_files(process: Process, level: int) -> None:
    """Until as many are open as before, but for those that the mix made it open for good."""
    async with asyncio.timeout(120):
        while _files(process) > level + 4:
            await asyncio.sleep(0.2)


def _tell(quiet: Seen, mix: Seen, memory: int, most: int, left: int) -> None:
    for name, seen in (("quiet", quiet), ("mix", mix)):
        p50, p99 = seen.percentile(0.5), seen.percentile(0.99)
        print(f"{name}: {len(seen.seconds)} good requests, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    print(f"p99 in the mix: {mix.percentile(0.99) / quiet.percentile(0.99):.1f} of that in quiet")
    print(
        f"resident: {memory / MIB:.0f} MiB, at the end of the mix {most / MIB:.0f}, left {left / MIB:.0f}"
    )
    print(f"answers to the hostile: {dict(sorted(mix.told.items()))}")
