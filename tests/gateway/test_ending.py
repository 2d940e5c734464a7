"""The end of a gateway: all that has begun is answered, and idle connections delay nothing."""

import asyncio
from collections.abc import Awaitable, Callable

from gatewaykit import COMMON_PORT, PORT, Gateway, StubPod
from wirekit import connected, post

Stub = Callable[..., Awaitable[StubPod]]


async def test_a_body_that_is_on_its_way_at_the_end_is_read_and_answered(
    front: Gateway, stub: Stub
) -> None:
    pod = await stub()
    await front.asleep()
    await front.awake(pod)
    whole = post("/embed", b"x" * 200_000)
    async with connected(PORT) as wire:
        await wire.send(whole[:100_000])
        async with asyncio.timeout(10):
            while front.memory.held < 90_000:
                await asyncio.sleep(0.005)
        front.ports.drain()
        ending = asyncio.create_task(front.ports.end(10))
        await asyncio.sleep(0.05)
        await wire.send(whole[100_000:])
        reply = await wire.reply()
        await ending
    assert reply is not None
    assert (reply.status, reply.last) == (200, True)
    assert pod.seen[0].body == b"x" * 200_000


async def test_idle_connections_are_closed_at_once(front: Gateway) -> None:
    async with connected(COMMON_PORT) as wire:
        await wire.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        reply = await wire.reply()
        assert reply is not None
        assert not reply.last
        async with asyncio.timeout(10):
            await front.ports.end(60)
            assert await wire.reply() is None


async def test_what_is_not_answered_in_time_is_given_up(front: Gateway) -> None:
    await front.asleep()
    async with connected(PORT) as wire:
        await wire.send(post("/embed", b"a"))
        await front.until_held(1)
        async with asyncio.timeout(10):
            await front.ports.end(0.2)
            assert await wire.reply() is None
    assert front.memory.held == 0
