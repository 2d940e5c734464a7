"""SIGTERM at random moments under load: whatever a process began to read is answered whole.

KUBEEMBED_DRAINS=500 .venv/bin/pytest tests/robustness/test_sigterm.py -s
is the full count, and takes about ten minutes on two idle cores; it prints what it saw.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from drainkit import Tally, load
from kubeembed_operator.manifests.deployment import DRAIN_SECONDS
from kubeembed_runtime.api import server
from kubeembed_runtime.command import LINGER_SECONDS
from runtimekit import Process, document, free_ports
from stubkit import heads_read, launch_stub

DRAINS = int(os.environ.get("KUBEEMBED_DRAINS", "24"))

#: Servers at once, each with clients of its own.
PLACES = 4

pytestmark = pytest.mark.timeout(120 + 10 * DRAINS)


@dataclass(slots=True)
class Ended:
    """Processes that have ended, and the requests that they began to read."""

    processes: int = 0
    starting: int = 0
    read: int = 0


async def test_every_request_that_a_process_began_to_read_is_answered_whole(
    tmp_path: Path,
) -> None:
    dice = random.Random(DRAINS)
    tally, ended = Tally(), Ended()
    share = -(-DRAINS // PLACES)
    await asyncio.gather(
        *(
            _place(tmp_path, share, tally, ended, random.Random(dice.random()))
            for _ in range(PLACES)
        )
    )
    print(f"{ended}; answers: {dict(tally.whole)}, {tally.last} of them the last; {tally.unread=}")
    assert tally.cut == []
    assert ended.processes == share * PLACES
    assert tally.whole.total() == ended.read
    assert set(tally.whole) <= {200, 503}
    assert tally.whole[200] > 10 * ended.processes


def test_a_pod_is_given_the_time_that_a_drain_may_take() -> None:
    longest = LINGER_SECONDS + server.LAST_REQUEST_SECONDS + server.LAST_ANSWER_SECONDS
    assert longest + 10 <= DRAIN_SECONDS


def test_a_signal_before_anything_listens_ends_the_process(tmp_path: Path) -> None:
    """As a container's first process it would be kept from it, if it had not said what to do."""
    file = tmp_path / "model.yaml"
    file.write_text(yaml.safe_dump(document(tmp_path)))
    command = [sys.executable, "-X", "importtime", "-m", "kubeembed_runtime", "serve", str(file)]
    with subprocess.Popen([*command, "--port", "0"], stderr=subprocess.PIPE, text=True) as starting:
        assert starting.stderr is not None
        for line in starting.stderr:
            if line.endswith("| uvloop\n"):
                break
        starting.send_signal(signal.SIGTERM)
        starting.stderr.read()
    assert starting.returncode == 0


async def _place(folder: Path, times: int, tally: Tally, ended: Ended, dice: random.Random) -> None:
    """One port, on which one process follows the other."""
    ports, stop = free_ports(2), asyncio.Event()
    clients = asyncio.create_task(load(ports[0], tally, stop, dice))
    for turn in range(times):
        flags = ("--linger", f"{dice.choice([0, 0.3])}", "--seconds", f"{dice.choice([0, 0.05])}")
        process = launch_stub(folder, *flags, ports=ports)
        try:
            await _let_it_work(process, dice, starting=turn % 5 == 4)
            process.popen.send_signal(signal.SIGTERM)
            if turn == times - 1:
                stop.set()
            status = await asyncio.to_thread(process.popen.wait, 60)
        finally:
            process.end()
        ended.processes += 1
        ended.read += heads_read(process)
        _check_end(process, status, ended)
    await clients


async def _let_it_work(process: Process, dice: random.Random, *, starting: bool) -> None:
    if not starting:
        await asyncio.to_thread(process.until_ready)
    await asyncio.sleep(dice.uniform(0, 2.0 if starting else 0.8))


def _check_end(process: Process, status: int, ended: Ended) -> None:
    """Only what does not listen yet may end in another way than after a drain."""
    log = process.log.read_text()
    if "listening on" not in log:
        ended.starting += 1
        assert status in (0, -signal.SIGTERM), log
    else:
        assert status == 0, log
        assert "Traceback" not in log, log
