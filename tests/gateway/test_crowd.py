"""More clients than there is room for: who goes, who is told to come back, and that nobody waits in vain."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gatewaykit import COMMON_PORT, NAMESPACE, Gateway, StubPod, gateway
from kubeembed_gateway import crowd
from kubeembed_gateway.crowd import Crowd
from wirekit import connected, post

ASK = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
EMBED = post("/v1/embeddings", b'{"model": "minilm", "input": "a"}')


class Guest:
    gone = False

    def force_close(self) -> None:
        self.gone = True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_longest_idle_goes_and_nobody_who_has_just_come() -> None:
    clock = Clock()
    room = Crowd(2, clock)
    busy, first, second, third = (Guest() for _ in range(4))
    assert room.enter(busy)
    room.begin(busy)
    assert room.enter(first)
    assert not room.enter(second)
    clock.now = crowd.GRACE
    room.begin(first)
    room.end(first)
    assert not room.enter(third)
    assert [each.gone for each in (busy, first, second, third)] == [False, False, True, False]
    assert len(room) == 3
    room.leave(second)
    room.end(second)
    assert len(room) == 3


def test_whoever_goes_leaves_room() -> None:
    room = Crowd(1)
    first, second = Guest(), Guest()
    assert room.enter(first)
    room.leave(first)
    assert room.enter(second)
    assert not first.gone


@pytest.fixture
async def small() -> AsyncIterator[Gateway]:
    """Has room for two."""
    async with gateway(connections=2) as made:
        yield made


async def test_a_client_too_many_is_told_to_come_back_and_then_served(
    small: Gateway, stub: Callable[..., Awaitable[StubPod]]
) -> None:
    await small.asleep()
    async with connected(COMMON_PORT) as first, connected(COMMON_PORT) as second:
        await first.send(EMBED)
        await second.send(EMBED)
        while small.holds.count((NAMESPACE, "minilm")) < 2:
            await asyncio.sleep(0.01)
        async with connected(COMMON_PORT) as third:
            await third.send(EMBED)
            refused = await third.reply()
        assert refused is not None
        assert (refused.status, refused.headers["retry-after"], refused.last) == (503, "1", True)
        assert json.loads(refused.body)["error"] == {
            "message": "2 connections are open here, none of them idle",
            "type": "server_error",
            "param": None,
            "code": "connections_full",
        }
        await small.awake(await stub("pod-1"))
        replies = [await first.reply(), await second.reply()]
    assert [reply.status for reply in replies if reply] == [200, 200]


async def test_clients_that_say_nothing_keep_nobody_out(
    small: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "GRACE", 0.0)
    async with connected(COMMON_PORT) as silent, connected(COMMON_PORT) as half:
        await half.send(ASK[:9])
        async with connected(COMMON_PORT) as asks:
            await asks.send(ASK)
            reply = await asks.reply()
        assert reply is not None
        assert reply.status == 200
        assert await silent.reply() is None
        await half.send(ASK[9:])
        reply = await half.reply()
        assert reply is not None
        assert reply.status == 200
