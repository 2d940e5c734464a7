"""Ten thousand models that come and go leave nothing behind."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web

from gatewaykit import NAMESPACE, Gateway, StubPod, model, service, slice_of
from kubeembed_api.names import ACTIVATOR_PORTS
from kubeembed_gateway.metrics import forget_gone
from kubeembed_gateway.table import MODELS, SERVICES, SLICES, Table

Stub = Callable[..., Awaitable[StubPod]]


def sizes(front: Gateway) -> dict[str, int]:
    """Of all that is kept by model or by pod."""
    kept = (front.table, front.holds, front.activity, front.history, front.balancer)
    tables = {
        f"{type(each).__name__}.{name}": value
        for each in kept
        for name, value in vars(each).items()
    }
    found = {
        name: len(value) for name, value in tables.items() if isinstance(value, dict | set | list)
    }
    lines = front.metrics.text().decode().splitlines()
    return {**found, "series": sum("model=" in line for line in lines)}


def forget(front: Gateway) -> None:
    """As the process does, at a change of the table and at its steps."""
    front.balancer.keep(front.table.all_pods())
    front.history.sample()
    forget_gone(front.metrics, front.table, front.activity)


def come(table: Table, number: int, port: int) -> None:
    name = f"model-{number}"
    table.put(MODELS, model(name))
    table.put(SERVICES, service(name, ACTIVATOR_PORTS[number % 1000]))
    table.put(SLICES, slice_of(name, (f"{name}-pod", port)))


def go(table: Table, number: int) -> None:
    name = f"model-{number}"
    table.drop(MODELS, (NAMESPACE, name))
    table.drop(SERVICES, (NAMESPACE, name))
    table.drop(SLICES, (NAMESPACE, f"{name}-abcde"))


async def test_ten_thousand_models_come_and_go(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    pod = await stub()

    async def ask(number: int) -> int:
        asked = {"model": f"model-{number}", "input": "a"}
        async with client.post(f"{front.common}/v1/embeddings", json=asked) as got:
            return got.status

    before = sizes(front)
    for number in range(10_000):
        come(front.table, number, pod.port)
        if number % 100 == 0:
            assert await ask(number) == 200
            assert await ask(-1) == 404
        go(front.table, number)
        if number % 1000 == 0:
            front.table.take_changed()
            forget(front)
    front.table.take_changed()
    forget(front)
    # one series of what named no model stays
    assert sizes(front) == {**before, "series": before["series"] + 2}


async def test_a_request_that_ends_after_its_model_leaves_no_series(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    going = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await going.wait()
        return web.Response()

    async def ask() -> Any:
        asked = {"model": "model-1", "input": "a"}
        async with client.post(f"{front.common}/v1/embeddings", json=asked) as got:
            return got.status

    pod = await stub("pod-1", answer)
    before = sizes(front)
    come(front.table, 1, pod.port)
    asked = asyncio.create_task(ask())
    async with asyncio.timeout(10):
        while not front.activity.of((NAMESPACE, "model-1")).in_hand:
            await asyncio.sleep(0.005)
    go(front.table, 1)
    forget(front)
    going.set()
    assert await asked == 200
    front.table.take_changed()
    forget(front)
    assert sizes(front) == before
