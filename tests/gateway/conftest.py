"""A gateway and stub pods on loopback."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import uvloop

from gatewaykit import Gateway, StubPod, gateway


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """That of the gateway's process."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def front() -> AsyncIterator[Gateway]:
    async with gateway() as made:
        yield made


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """Opens a connection for each request, as the clients of a Service that is asleep do."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, limit=0)
    ) as session:
        yield session


@pytest.fixture
async def stub() -> AsyncIterator[Callable[..., Awaitable[StubPod]]]:
    """stub("pod-1", answer): started, and stopped after the test."""
    made: list[StubPod] = []

    async def start(name: str = "pod-1", answer: Any = None) -> StubPod:
        made.append(await StubPod(name, answer).start())
        return made[-1]

    yield start
    for pod in made:
        await pod.stop()
