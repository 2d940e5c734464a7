"""Unmodified clients while replicas are ended and started in turn: with a second one, none sees an error.

KUBEEMBED_DRAINS=500 .venv/bin/pytest tests/robustness/test_replicas.py -s
ends so many, and prints how many calls each client made.
"""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from balancerkit import Balancer, balanced
from clientkit import python, tour
from kubeembed_runtime.command import LINGER_SECONDS
from runtimekit import Process
from stubkit import launch_stub

DRAINS = int(os.environ.get("KUBEEMBED_DRAINS", "4"))

pytestmark = pytest.mark.timeout(180 + 10 * DRAINS)


async def test_no_client_sees_replicas_go_and_come(tmp_path: Path) -> None:
    for name in ("http", "sie"):
        await asyncio.to_thread(python, name)
    stop = tmp_path / "stop"
    async with balanced() as balancer:
        balancer.replicas = [_launched(tmp_path), _launched(tmp_path)]
        await balancer.until_ready(2)
        url = f"http://127.0.0.1:{balancer.port}"
        ends: list[asyncio.Task[None]] = []
        clients = [
            asyncio.create_task(_client(url, tmp_path, *names))
            for names in (("http", "replicas"), ("sie", "sie_drain"))
        ]
        try:
            await _until_begun(tmp_path, clients)
            for _ in range(DRAINS):
                ends.append(await _replace(balancer, tmp_path, stop))
        finally:
            stop.touch()
            said = await asyncio.gather(*clients, return_exceptions=True)
            failed = [end for end in await asyncio.gather(*ends, return_exceptions=True) if end]
            for process in balancer.replicas:
                process.end()
            print(f"{len(ends)} ended; refused by the balancer: {balancer.refused}; said: {said}")
    assert [one for one in said if isinstance(one, BaseException)] == failed == []


def _launched(folder: Path) -> Process:
    return launch_stub(folder, "--name", "minilm", "--linger", f"{LINGER_SECONDS}")


async def _client(url: str, folder: Path, environment: str, script: str) -> str:
    files = (str(folder / f"{script}-begun"), str(folder / "stop"))
    seconds = 180 + 10 * DRAINS
    return await asyncio.to_thread(tour, environment, script, url, *files, seconds=seconds)


async def _until_begun(folder: Path, clients: "list[asyncio.Task[str]]") -> None:
    async with asyncio.timeout(60):
        while not all((folder / f"{name}-begun").exists() for name in ("replicas", "sie_drain")):
            assert not any(client.done() for client in clients)
            await asyncio.sleep(0.05)


async def _replace(balancer: Balancer, folder: Path, stop: Path) -> "asyncio.Task[None]":
    """As a rollout with maxUnavailable 0: the next is ready before the oldest is told to end.

    The task waits for its end: as ever it serves for seconds more, so that no client finds the connection
    closed that it was about to use.
    """
    assert not stop.exists(), "a client has ended"
    oldest = balancer.replicas[0]
    balancer.replicas.append(_launched(folder))
    await balancer.until_ready(3)
    await asyncio.sleep(random.uniform(0, 0.3))
    oldest.popen.send_signal(signal.SIGTERM)
    await balancer.until_left(oldest)
    balancer.replicas.remove(oldest)
    return asyncio.create_task(_ended(oldest))


async def _ended(process: Process) -> None:
    async with asyncio.timeout(60):
        while process.popen.poll() is None:
            await asyncio.sleep(0.1)
    assert process.popen.returncode == 0, process.log.read_text()
