"""Bodies both ways: no faster than the other side takes them, and no longer than somebody wants them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gatewaykit import PORT, Gateway
from kubeembed_gateway import body
from kubeembed_gateway.body import KEPT_BYTES
from kubeembed_gateway.upstream import BUFFER_BYTES, Upstream
from rawpodkit import OK, Line, RawPod, ask, plain
from wirekit import connected, post

Raw = Callable[..., Awaitable[RawPod]]

#: What uvloop takes from a socket at once, and what it lets wait to be sent before it says so.
READ_BYTES, UNSENT_BYTES = 256 * 1024, 64 * 1024
#: What aiohttp reads ahead of a body: three times.
PIECE_BYTES = 3 * READ_BYTES
#: More than kernels keep for anybody.
MUCH = 32 * 1024 * 1024
TOO_LARGE = plain(b"too large").replace(b"200 OK", b"413 Content Too Large")


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


def upstream(front: Gateway) -> Upstream:
    """The one that there is."""
    (one,) = front.pool._open
    return one


@pytest.mark.parametrize("kept", [MUCH, KEPT_BYTES], ids=["kept", "sent on as it comes"])
async def test_a_reply_that_does_not_wait_for_the_body_ends_it(
    raw: Raw, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "KEPT_BYTES", kept)
    monkeypatch.setattr(body, "MAX_BODY_BYTES", MUCH)

    async def serve(pod: RawPod, line: Line) -> None:
        if line.number == 1:
            await line.reader.readuntil(b"\r\n\r\n")
            await line.say(TOO_LARGE)
            await line.ended()
        await pod.next(line)
        await line.say(plain(b"2"))

    pod = await raw(serve)
    async with connected(PORT) as wire, asyncio.timeout(10):
        sending = asyncio.create_task(wire.send(post("/embed", bytes(MUCH))))
        reply = await wire.reply()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert reply is not None
    assert (reply.status, reply.body) == (413, b"too large")
    assert (await ask()).body == b"2"
    assert pod.by == [2]


async def test_a_reply_and_the_body_that_it_answers_go_on_together(raw: Raw) -> None:
    async def serve(pod: RawPod, line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        await line.say(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        while (piece := await line.reader.readuntil(b"\r\n")) != b"0\r\n":
            await line.say(piece + await line.reader.readuntil(b"\r\n"))
        await line.say(b"0\r\n\r\n")

    await raw(serve)
    async with connected(PORT) as wire, asyncio.timeout(10):
        await wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await wire.reader.readuntil(b"\r\n\r\n")
        for piece in (b"1\r\na\r\n", b"2\r\nbc\r\n"):
            await wire.send(piece)
            assert await wire.reader.readexactly(len(piece)) == piece
        await wire.send(b"0\r\n\r\n")
        assert await wire.reader.read() == b"0\r\n\r\n"


async def test_a_client_that_reads_slowly_slows_the_pod(front: Gateway, raw: Raw) -> None:
    async def serve(pod: RawPod, line: Line) -> None:
        await pod.next(line)
        await line.say(OK + b"Content-Length: %d\r\n\r\n" % MUCH, *[bytes(MUCH // 8)] * 8)

    await raw(serve)
    async with connected(PORT, limit=2**12) as wire:
        await wire.send(post("/embed", b"a"))
        await until(lambda: len(front.pool) > 0 and upstream(front)._paused)
        await asyncio.sleep(0.1)
        reply = upstream(front)._reply
        assert reply is not None
        assert BUFFER_BYTES < reply.waiting <= BUFFER_BYTES + READ_BYTES
        head = await wire.reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: %d\r\n" % MUCH in head
        assert await wire.reader.readexactly(MUCH) == bytes(MUCH)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_pod_that_reads_slowly_slows_the_client(
    front: Gateway, raw: Raw, chunked: bool
) -> None:
    taken, told = asyncio.Event(), []

    async def serve(pod: RawPod, line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        await taken.wait()
        left = MUCH
        while left:
            size = int(await line.reader.readuntil(b"\r\n"), 16) if chunked else left
            told.append(await line.reader.readexactly(size))
            left -= size
            await line.reader.readexactly(2 if chunked else 0)
        await line.reader.readexactly(5 if chunked else 0)
        await line.say(plain(b"all"))
        await line.ended()

    await raw(serve)
    head = post("/embed", b"", length=MUCH)
    if chunked:
        head = head.replace(b"Content-Length: %d" % MUCH, b"Transfer-Encoding: chunked")
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (MUCH, bytes(MUCH)) if chunked else bytes(MUCH)
    async with connected(PORT) as wire, asyncio.timeout(30):
        sending = asyncio.create_task(wire.send(head + sent))
        await until(lambda: len(front.pool) > 0 and upstream(front)._drained is not None)
        await asyncio.sleep(0.1)
        unsent = upstream(front)._transport.get_write_buffer_size()
        assert UNSENT_BYTES < unsent <= UNSENT_BYTES + PIECE_BYTES
        assert not sending.done()
        taken.set()
        reply = await wire.reply()
        await sending
    assert reply is not None
    assert (reply.body, b"".join(told) == bytes(MUCH)) == (b"all", True)
    assert len(front.pool) == 1


@pytest.mark.parametrize("said", [b"", OK + b"Content-Length: 9999999\r\n\r\nbegun"])
async def test_a_client_that_leaves_ends_the_pods_connection(
    front: Gateway, raw: Raw, said: bytes
) -> None:
    """Before the reply, and within one."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def serve(pod: RawPod, line: Line) -> None:
        await pod.next(line)
        await line.say(said)
        asked.set()
        await line.ended()
        ended.set()

    await raw(serve)
    async with connected(PORT) as wire, asyncio.timeout(10):
        await wire.send(post("/embed", b"a"))
        await asked.wait()
        if said:
            await wire.reader.readuntil(b"begun")
        wire.writer.transport.abort()
        await ended.wait()
    await until(lambda: len(front.pool) == 0)


async def test_a_client_that_leaves_within_its_body_ends_the_pods_connection(
    front: Gateway, raw: Raw
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def serve(pod: RawPod, line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\nx")
        begun.set()
        await line.ended()
        ended.set()

    await raw(serve)
    async with connected(PORT) as wire, asyncio.timeout(10):
        await wire.send(post("/embed", b"x" * 1000, length=MUCH))
        await begun.wait()
        wire.writer.transport.abort()
        await ended.wait()
    await until(lambda: len(front.pool) == 0)


async def test_the_end_of_a_gateway_ends_its_connections(front: Gateway, raw: Raw) -> None:
    """The idle one, and the one by which a reply comes that nothing but its end would end."""

    async def serve(pod: RawPod, line: Line) -> None:
        while (await pod.next(line))[1] == b"short":
            await line.say(plain(b"a"))
        await line.say(OK + b"\r\nbegun")
        await line.ended()

    pod = await raw(serve)
    async with connected(PORT) as wire, asyncio.timeout(10):
        await wire.send(post("/embed", b"long"))
        await wire.reader.readuntil(b"begun")
        assert (await ask(b"short")).body == b"a"
        assert (len(front.pool), len(pod.lines)) == (2, 2)
        front.pool.close()
        assert len(front.pool) == 0
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await wire.reader.readuntil(b"0\r\n\r\n")
        for line in pod.lines:
            await line.over.wait()
    assert (await ask()).status == 503
