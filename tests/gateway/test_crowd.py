"""More clients than there is room for: who goes, who is told to come back, and that nobody waits in vain."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from gatewaykit import COMMON_PORT, NAMESPACE, Gateway, StubPod, gateway
from kubeembed_gateway import crowd, silence
from kubeembed_gateway.crowd import Crowd
from wirekit import connected, post

ASK = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
EMBED = post("/v1/embeddings", b'{"model": "minilm", "input": "a"}')


class Guest:
    idle = True
    gone = False

    def force_close(self) -> None:
        self.gone = True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def came(room: Crowd, number: int) -> list[Guest]:
    guests = [Guest() for _ in range(number)]
    for each in guests:
        room.enter(each)
    return guests


def gone(guests: list[Guest]) -> list[int]:
    return [number for number, each in enumerate(guests) if each.gone]


def test_the_longest_idle_go_and_nobody_who_is_at_it(clock: Clock) -> None:
    room = Crowd(4, clock)
    guests = came(room, 4)
    room.begin(guests[0])
    guests[1].idle = False
    clock.now = crowd.GRACE
    room.begin(guests[2])
    room.end(guests[2])
    more = came(room, 2)
    assert (gone(guests), gone(more), len(room)) == ([3], [], 5)
    assert room.full
    clock.now = 2 * crowd.GRACE
    room.end(guests[0])
    came(room, 1)
    assert (gone(guests), gone(more)) == ([2, 3], [0])
    assert not room.full


def test_who_has_just_come_stays_and_a_crowd_is_worked_off_at_once(clock: Clock) -> None:
    room = Crowd(2, clock)
    guests = came(room, 9)
    assert gone(guests) == []
    clock.now = crowd.GRACE
    guests += came(room, 1)
    assert gone(guests) == list(range(8))
    assert len(room) == 2


def test_past_the_surplus_nobody_gets_in(clock: Clock) -> None:
    room = Crowd(2, clock)
    guests = came(room, 2 + crowd.SURPLUS + 3)
    assert gone(guests) == [2 + crowd.SURPLUS + number for number in range(3)]
    assert len(room) == 2 + crowd.SURPLUS


def test_whoever_goes_leaves_room() -> None:
    room = Crowd(1)
    (first,) = came(room, 1)
    room.leave(first)
    room.end(first)
    assert len(room) == 0
    came(room, 1)
    assert not room.full
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
            "message": "2 connections are open here, and none has been idle for long",
            "type": "server_error",
            "param": None,
            "code": "connections_full",
        }
        await small.awake(await stub("pod-1"))
        replies = [await first.reply(), await second.reply()]
    assert [reply.status for reply in replies if reply] == [200, 200]


async def test_who_came_too_early_is_served_once_others_have_gone(small: Gateway) -> None:
    async with AsyncExitStack() as held:
        async with connected(COMMON_PORT), connected(COMMON_PORT):
            early = await held.enter_async_context(connected(COMMON_PORT))
            async with connected(COMMON_PORT) as late:  # after which the early one is here, too
                await late.send(ASK)
                refused = await late.reply()
        assert refused is not None
        assert refused.status == 503
        for _ in range(2):
            await early.send(ASK)
            reply = await early.reply()
            assert reply is not None
            assert (reply.status, reply.last) == (200, False)


async def test_a_request_that_has_come_is_never_dropped_for_a_newcomer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where both come in the same turn of the loop, which is long under load."""
    monkeypatch.setattr(crowd, "GRACE", 0.0)
    async with gateway(connections=1):
        for _ in range(20):
            async with connected(COMMON_PORT) as asks:
                await asyncio.sleep(0.01)
                sent = asks.writer.get_extra_info("socket").fileno()
                with socket.socket() as newcomer:
                    os.write(sent, ASK)
                    newcomer.connect(("127.0.0.1", COMMON_PORT))
                    reply = await asks.reply()
            assert reply is not None
            assert reply.status in (200, 503)


async def test_a_client_that_takes_nothing_of_its_reply_is_dropped(
    stub: Callable[..., Awaitable[StubPod]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "SILENT_SECONDS", 1)

    async def much(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response(body=bytes(30_000_000))

    async with gateway() as front, asyncio.timeout(20):
        await front.asleep()
        await front.awake(await stub("pod-1", much))
        with socket.socket() as client:
            client.connect(("127.0.0.1", COMMON_PORT))
            client.sendall(EMBED)
            while not front.activity.of((NAMESPACE, "minilm")).in_hand:
                await asyncio.sleep(0.01)
            while front.activity.of((NAMESPACE, "minilm")).in_hand:
                await asyncio.sleep(0.01)


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
