"""A gateway and stub pods on loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import uvloop

from gatewaykit import Gateway, StubPod, gateway, slice_of
from kubeembed_gateway.table import SLICES
from rawpodkit import RawPod, Serve


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """That of the gateway's process."""
    return {"uvloop": _new_loop}


def _new_loop() -> asyncio.AbstractEventLoop:
    """One that pytest-timeout can end: uvloop goes on after what the handler of a signal raises."""
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(_end_late)
    return loop


def _end_late(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    loop.default_exception_handler(context)
    if isinstance(context.get("exception"), pytest.fail.Exception):
        loop.stop()


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


@pytest.fixture
async def raw(front: Gateway) -> AsyncIterator[Callable[..., Awaitable[RawPod]]]:
    """raw(serve): a pod of the one model."""
    made: list[RawPod] = []

    async def start(serve: Serve, name: str = "pod-1") -> RawPod:
        made.append(await RawPod(name, serve).start())
        await front.put(**{SLICES: slice_of("minilm", (name, made[-1].port), part=name)})
        return made[-1]

    await front.asleep()
    yield start
    for pod in made:
        pod.stop()
