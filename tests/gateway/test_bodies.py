"""Bodies of requests that wait: bounded in bytes whatever clients send, and given back whatever they do."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gatewaykit import COMMON_PORT, NAMESPACE, PORT, Gateway, StubPod, gateway
from kubeembed_gateway import body
from kubeembed_gateway.connection import MOST_EARLY_BYTES, Connection
from kubeembed_gateway.listening import MAX_HEAD_BYTES
from wirekit import connected, post

Stub = Callable[..., Awaitable[StubPod]]
MB = 1_000_000
#: What asyncio takes from a socket at once.
READ_BYTES = 256 * 1024

FULL = {
    "/v1/embeddings": lambda said: said["error"]["code"] == "bodies_full",
    "/v2/embed": lambda said: said["error_type"] == "bodies_full",
    "/embed": lambda said: said["error_type"] == "Overloaded",
    "/v1/encode/minilm": lambda said: said["detail"]["code"] == "QUEUE_FULL",
}


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


async def chunked(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 50_000):
        yield b"x" * 50_000


def failed(front: Gateway, status: int) -> float:
    return front.counted("requests_total", namespace=NAMESPACE, model="minilm", status=str(status))


async def test_of_a_hundred_megabytes_as_much_is_held_as_there_is_room_for(
    client: aiohttp.ClientSession, stub: Stub
) -> None:
    async with gateway(held_bytes=64 * MB) as front:
        await front.asleep()
        sent = b"x" * MB

        async def ask(path: str) -> tuple[str, int, Any, Any]:
            async with client.post(f"{front.url}{path}", data=sent) as got:
                return path, got.status, got.headers.get("Retry-After"), await got.json()

        asked = [asyncio.create_task(ask(path)) for path in FULL for _ in range(25)]
        await front.until_held(64)
        await until(lambda: failed(front, 503) == 36)
        assert front.memory.held == 64 * MB
        await front.awake(await stub())
        answers = await asyncio.gather(*asked)
        refused = [each for each in answers if each[1] == 503]
        assert (len(refused), len(answers)) == (36, 100)
        assert all(FULL[path](said) and after == "5" for path, _, after, said in refused)
        assert {each[1] for each in answers} == {200, 503}
        assert front.memory.held == 0


@pytest.mark.parametrize(
    ("room", "size", "status"), [(2 * MB, 3 * MB, 503), (64 * MB, 17 * MB, 413)]
)
async def test_a_body_that_says_no_length_is_read_no_further_than_there_is_room_for(
    client: aiohttp.ClientSession, stub: Stub, room: int, size: int, status: int
) -> None:
    async def ask(size: int) -> int:
        async with client.post(f"{front.url}/embed", data=chunked(size)) as got:
            return got.status

    async with gateway(held_bytes=room) as front:
        await front.asleep()
        assert await ask(size) == status
        assert front.memory.held == 0
        held = asyncio.create_task(ask(MB))
        await front.until_held(1)
        assert front.memory.held == MB
        await front.awake(await stub())
        assert await held == 200


async def test_bodies_that_stop_half_way_take_the_room_that_they_fill(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    """A hundred that say a megabyte each would leave no room for anybody if that was counted."""
    await front.asleep()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(100):
            wire = await stack.enter_async_context(connected(PORT))
            await wire.send(post("/embed", b"x" * 10, length=MB))
        await until(lambda: front.memory.held == 1000)
        asked = asyncio.create_task(client.post(f"{front.url}/embed", data=b"x" * MB))
        await front.until_held(1)
        assert front.memory.held == MB + 1000
        await front.awake(await stub())
        async with await asked as got:
            assert (got.status, len(await got.read())) == (
                200,
                len('{"pod": "pod-1", "body": ""}') + MB,
            )
    await until(lambda: front.memory.held == 0 and failed(front, 499) == 100)


async def test_a_body_that_never_arrives_is_waited_for_so_long(
    front: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.2)
    await front.asleep()
    async with connected(PORT) as wire:
        await wire.send(post("/embed", b"x" * 500, length=1000))
        reply = await wire.reply()
    assert reply is not None
    assert (reply.status, json.loads(reply.body)["error_type"]) == (408, "Validation")
    assert front.memory.held == 0


async def test_a_short_body_for_which_there_is_no_room_is_sent_on_as_it_comes(
    client: aiohttp.ClientSession, stub: Stub
) -> None:
    async with gateway(held_bytes=150_000) as front:
        await front.asleep()
        pod = await stub()
        await front.awake(pod)
        async with connected(PORT) as wire:
            whole = post("/embed", bytes(range(250)) * 800)
            await wire.send(whole[:100_000])
            await until(lambda: front.memory.held > 90_000)
            await wire.send(whole[100_000:])
            reply = await wire.reply()
        assert reply is not None
        assert reply.status == 200
        assert pod.seen[0].body == bytes(range(250)) * 800


async def test_what_a_client_sends_before_its_turn_stays_with_it(
    front: Gateway, stub: Stub
) -> None:
    def early() -> list[int]:
        server, _ = front.ports._open[COMMON_PORT]
        return [each.early for each in server.connections if isinstance(each, Connection)]

    await front.asleep()
    sent = [post("/v1/encode/minilm", b"%06d" % number + b"x" * 200_000) for number in range(100)]
    async with connected(COMMON_PORT) as wire:
        sending = asyncio.create_task(wire.send(b"".join(sent)))
        await front.until_held(1)
        await until(lambda: early()[0] > MOST_EARLY_BYTES)
        await asyncio.sleep(0.1)
        assert early()[0] <= MOST_EARLY_BYTES + READ_BYTES
        assert front.memory.held == 200_006
        pod = await stub()
        await front.awake(pod)
        replies = [await wire.reply() for _ in sent]
        await sending
    assert {reply.status for reply in replies if reply} == {200}
    assert [each.body[:6] for each in pod.seen] == [b"%06d" % number for number in range(100)]


async def test_headers_are_as_large_as_the_pods_read_them(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    """aiohttp bounds each of them, and their number: together that would be 8 MB a request."""
    await front.asleep()
    await front.awake(await stub())
    for count, status in ((60, 200), (70, 431)):
        headers = {f"X-{number}": "x" * 1000 for number in range(count)}
        async with client.post(f"{front.url}/embed", data=b"a", headers=headers) as got:
            assert got.status == status
    assert 60_000 < MAX_HEAD_BYTES < 70_000


@pytest.mark.parametrize("port", [PORT, COMMON_PORT], ids=["sent on", "held"])
async def test_a_body_whose_chunks_are_malformed_is_refused_at_once(
    front: Gateway, stub: Stub, port: int
) -> None:
    """And the pod that was getting it is not to blame."""
    await front.asleep()
    await front.awake(await stub("pod-1"))
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with connected(port) as wire, asyncio.timeout(10):
        await wire.send(head + b"1\r\na\r\n")
        await asyncio.sleep(0.1)  # until somebody waits for the rest
        await wire.send(b"no chunk\r\n")
        reply = await wire.reply()
        assert reply is not None
        assert (reply.status, reply.last) == (400, True)
        assert json.loads(reply.body)["error"]["code"] == "invalid_body"
        assert await wire.reply() is None
    assert front.balancer.left_out() == 0


async def test_so_is_one_behind_another_request(front: Gateway, stub: Stub) -> None:
    """Its error is there before its turn has come."""
    goes_on = asyncio.Event()

    async def waits(request: web.BaseRequest) -> web.StreamResponse:
        await goes_on.wait()
        return web.Response()

    await front.asleep()
    await front.awake(await stub("pod-1", waits))
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with connected(COMMON_PORT) as wire, asyncio.timeout(10):
        await wire.send(post("/v1/embeddings", b'{"model": "minilm"}'))
        for piece in (head, b"no chunk\r\n"):
            await asyncio.sleep(0.1)
            await wire.send(piece)
        await asyncio.sleep(0.1)
        goes_on.set()
        replies = [await wire.reply(), await wire.reply(), await wire.reply()]
    assert [reply and reply.status for reply in replies] == [200, 400, None]


async def test_what_is_no_http_is_refused_in_words(
    front: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(COMMON_PORT) as wire, asyncio.timeout(10):
        await wire.send(b"how are you?\r\n\r\n")
        reply = await wire.reply()
    assert reply is not None
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["code"] == "invalid_request"
    assert caplog.records == []
