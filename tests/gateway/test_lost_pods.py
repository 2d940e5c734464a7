"""Pods that go away under a request: before their reply another is asked, within it the client is told."""

import asyncio
import resource
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gatewaykit import NAMESPACE, Gateway, StubPod

Stub = Callable[..., Awaitable[StubPod]]


async def dies(request: web.BaseRequest) -> web.StreamResponse:
    """After it has read the request."""
    await request.read()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def dies_within(request: web.BaseRequest) -> web.StreamResponse:
    """In the middle of a long reply."""
    return await _cut(request, length=1_000_000, sent=1000)


async def dies_within_a_short_reply(request: web.BaseRequest) -> web.StreamResponse:
    return await _cut(request, length=1000, sent=10)


async def _cut(request: web.BaseRequest, *, length: int, sent: int) -> web.StreamResponse:
    """Promises so many bytes, sends fewer, and breaks off."""
    response = web.StreamResponse(headers={"Content-Length": str(length)})
    await response.prepare(request)
    await response.write(b"x" * sent)
    assert request.transport is not None
    await asyncio.sleep(0.05)
    request.transport.abort()
    return response


async def ask(client: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    async with client.post(f"{url}/v1/embeddings", json={"input": "a"}) as got:
        return got.status, await got.json()


@pytest.mark.parametrize("end", [dies, dies_within_a_short_reply])
async def test_another_pod_is_asked(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub, end: Any
) -> None:
    await front.asleep()
    await front.awake(await stub("pod-1", end), await stub("pod-2"))
    for _ in range(10):
        status, body = await ask(client, front.url)
        assert (status, body["pod"]) == (200, "pod-2")
    assert front.counted("retries_total", namespace=NAMESPACE, model="minilm") == 1


async def test_a_pod_that_cannot_be_reached_is_left_out(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    gone = await stub("pod-1")
    await front.asleep()
    await front.awake(gone, await stub("pod-2"))
    await gone.stop()
    for _ in range(10):
        assert (await ask(client, front.url))[1]["pod"] == "pod-2"
    assert front.counted("retries_total", namespace=NAMESPACE, model="minilm") == 1


async def test_the_only_pod_is_waited_for(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    pod = await stub("pod-1")
    await front.asleep()
    await front.awake(pod)
    await pod.stop()
    asked = asyncio.create_task(ask(client, front.url))
    await asyncio.sleep(0.2)
    await pod.start()
    assert (await asked)[0] == 200


async def test_a_request_whose_only_pod_goes_is_held_for_the_next(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    pod = await stub("pod-1")
    await front.asleep()
    await front.awake(pod)
    await pod.stop()
    asked = asyncio.create_task(ask(client, front.url))
    await asyncio.sleep(0.2)
    await front.gone(pod)
    await front.until_held(1)
    await front.awake(await stub("pod-2"))
    assert (await asked)[1]["pod"] == "pod-2"


async def test_a_request_that_breaks_pods_breaks_three_at_most(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    broken: list[str] = []

    def breaking(name: str) -> Any:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            broken.append(name)
            return await dies(request)

        return answer

    await front.asleep()
    for number in range(5):
        await front.awake(await stub(f"pod-{number}", breaking(f"pod-{number}")))
    async with client.post(f"{front.url}/v1/encode/minilm", data=b"a") as got:
        assert (got.status, got.headers["X-SIE-Error-Code"]) == (503, "MODEL_LOADING")
    assert len(set(broken)) == 3


async def test_over_kept_connections_too_it_is_sent_four_times_at_most(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    """A pod whose kept connection breaks silently is asked over a new one, which may be its second time."""
    everybody, bad = asyncio.Barrier(5), list[str]()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if await request.read() == b"bad":
            bad.append("sent")
            return await dies(request)
        await everybody.wait()
        return web.Response()

    await front.asleep()
    for number in range(5):
        await front.awake(await stub(f"pod-{number}", answer))

    async def post(body: bytes) -> int:
        async with client.post(f"{front.url}/embed", data=body) as got:
            return got.status

    assert await asyncio.gather(*(post(b"good") for _ in range(5))) == [200] * 5
    assert len(front.pool) == 5
    assert await post(b"bad") == 503
    assert len(bad) == 4


async def test_a_reply_that_breaks_off_is_never_taken_for_a_whole_one(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    await front.asleep()
    await front.awake(await stub("pod-1", dies_within), await stub("pod-2"))
    async with client.get(f"{front.url}/") as got:
        assert got.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await got.read()


async def test_a_body_that_is_sent_on_as_it_comes_is_sent_once(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    async def pieces() -> Any:
        yield b"a"
        yield b"b"

    await front.asleep()
    await front.awake(await stub("pod-1", dies), await stub("pod-2"))
    async with client.post(f"{front.url}/embed", data=pieces()) as got:
        assert got.status == 503
        assert (await got.json())["error_type"] == "Backend"
    async with client.post(f"{front.url}/embed", data=pieces()) as got:
        assert (await got.json()) == {"pod": "pod-2", "body": "ab"}


async def test_a_slow_pod_is_waited_for(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(3)
        return web.json_response({"pod": "pod-1"})

    await front.asleep()
    await front.awake(await stub("pod-1", slow))
    assert await ask(client, front.url) == (200, {"pod": "pod-1"})


@contextmanager
def no_more_files() -> Iterator[None]:
    """What is open stays so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_want_of_connections_is_no_fault_of_the_pod(front: Gateway, stub: Stub) -> None:
    await front.asleep()
    await front.awake(await stub("pod-1"), await stub("pod-2"))
    asked = f"{front.common}/v1/embeddings", {"model": "minilm", "input": "a"}
    async with aiohttp.ClientSession() as client:  # its connection is kept
        async with client.get(f"{front.common}/health") as got:
            assert got.status == 200
        with no_more_files():
            async with client.post(asked[0], json=asked[1]) as got:
                told = await got.json()
        assert (got.status, got.headers["Retry-After"]) == (503, "1")
        assert told["error"]["code"] == "connections_full"
        assert told["error"]["message"].endswith(": Too many open files")
        assert front.balancer.left_out() == 0
        async with client.post(asked[0], json=asked[1]) as got:
            assert got.status == 200
