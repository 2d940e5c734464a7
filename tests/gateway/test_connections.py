"""Connections to pods: kept, closed, and not asked again where it is in doubt whose their next bytes are."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from gatewaykit import NAMESPACE, PORT, Gateway, StubPod, gateway, slice_of
from kubeembed_gateway import pool
from kubeembed_gateway.reply import Reply
from kubeembed_gateway.table import SLICES
from kubeembed_gateway.upstream import Broken
from rawpodkit import OK, Line, RawPod, ask, plain, saying, talk
from wirekit import connected, post

Raw = Callable[..., Awaitable[RawPod]]
Stub = Callable[..., Awaitable[StubPod]]

#: Replies after which a connection goes on, with what is made of them.
GOES_ON = (
    ((b"HTTP/1.1 204 No Content\r\n", b"\r\n"), 204, b""),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 8\r\n\r\n", 304, b""),
    (
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n", plain(b"3")),
        200,
        b"3",
    ),
    ((plain(b"12345")[:-3], b"3", b"45"), 200, b"12345"),
    (
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n5\r\n0\r\nX: y\r\n\r\n",
        200,
        b"1\r\n5\r\n0\r\n\r\n",
    ),
    ((b"HTT", b"P/1.1 418 I'm a", b" teapot\r\nContent-Length", b": 1\r\n\r", b"\n6"), 418, b"6"),
)
#: After which it does not.
ENDS = {
    "close": plain(b"a", b"Connection: close"),
    "HTTP/1.0": plain(b"a").replace(b"1.1", b"1.0"),
    "more than the reply": plain(b"a") + b"b",
    "two replies": plain(b"a") * 2,
    "a body for none": plain(b"a").replace(b"200", b"204"),
}


def retries(front: Gateway) -> float:
    return front.counted("retries_total", namespace=NAMESPACE, model="minilm")


async def test_connections_are_kept_and_the_last_one_is_used_next(raw: Raw) -> None:
    both = asyncio.Barrier(2)

    async def serve(pod: RawPod, line: Line) -> None:
        while True:
            _, body = await pod.next(line)
            if body == b"wait":
                await both.wait()
            await line.say(plain(body))

    pod = await raw(serve)
    assert [(await ask(b"%d" % number)).body for number in range(4)] == [b"0", b"1", b"2", b"3"]
    assert pod.by == [1] * 4
    await asyncio.gather(ask(b"wait"), ask(b"wait"))
    assert (sorted(pod.by[4:]), len(pod.lines)) == ([1, 2], 2)
    for _ in range(4):
        await ask()
    assert len(set(pod.by[6:])) == 1


async def test_on_one_connection_each_request_gets_its_own_reply(raw: Raw) -> None:
    pod = await raw(saying(*(said for said, *_ in GOES_ON), plain(b"last")))
    for _, status, body in GOES_ON:
        head, got = await talk(post("/embed", b"a"))
        assert (int(head[9:12]), got) == (status, body)
    assert (await ask()).body == b"last"
    assert pod.by == [1] * (len(GOES_ON) + 1)


async def test_the_reply_to_head_has_no_body_whatever_it_says(raw: Raw) -> None:
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    large = OK + b"Content-Length: 9999999\r\n\r\n"
    pod = await raw(saying(OK + b"Content-Length: 7\r\n\r\n", large, chunked, plain(b"last")))
    for line in (b"Content-Length: 7", b"Content-Length: 9999999", b""):
        head, body = await talk(b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (line in head, body) == (True, b"")
    assert (await ask()).body == b"last"
    assert pod.by == [1, 1, 1, 2]  # after the one in chunks, what follows may go unseen


@pytest.mark.parametrize("kind", ENDS)
async def test_a_connection_whose_next_bytes_are_in_doubt_is_not_used_again(
    front: Gateway, raw: Raw, kind: str
) -> None:
    pod = await raw(saying(ENDS[kind], plain(b"last")))
    _, body = await talk(post("/embed", b"a"))
    assert body == (b"" if kind == "a body for none" else b"a")
    assert (await ask()).body == b"last"
    assert (pod.by, retries(front)) == ([1, 2], 0)


async def test_what_a_pod_says_unasked_ends_the_connection(front: Gateway, raw: Raw) -> None:
    """It would be taken for the reply to the next request."""

    async def serve(pod: RawPod, line: Line) -> None:
        await pod.next(line)
        await line.say(plain(b"%d" % line.number))
        if line.number == 1:
            await line.say(b"", plain(b"nobody's"))
            await line.ended()
            ended.set()
        await pod.next(line)

    ended = asyncio.Event()
    pod = await raw(serve)
    assert (await ask()).body == b"1"
    await asyncio.wait_for(ended.wait(), 10)
    assert (await ask()).body == b"2"
    assert (pod.by, retries(front)) == ([1, 2], 0)


async def test_a_reply_without_a_length_ends_with_its_connection(raw: Raw) -> None:
    async def serve(pod: RawPod, line: Line) -> None:
        await pod.next(line)
        await line.say(OK + b"\r\nhel", b"lo")

    pod = await raw(serve)
    for _ in range(2):
        head, body = await talk(post("/embed", b"a"))
        assert b"Transfer-Encoding: chunked" in head
        assert body.replace(b"\r\n", b"") in (b"3hel2lo0", b"5hello0")
    assert pod.by == [1, 2]


async def test_a_connection_that_had_been_closed_is_no_lost_pod(front: Gateway, raw: Raw) -> None:
    """It closes when the request is there already: the gateway can't tell that from one that crossed it."""
    pod = await raw(saying(plain(b"1"), b"", plain(b"2")))
    assert [(await ask()).body, (await ask()).body] == [b"1", b"2"]
    assert (pod.by, retries(front)) == ([1, 1, 2], 0)
    assert len({body for _, _, body in pod.asked}) == 1


async def test_a_request_is_sent_again_once_by_a_new_connection(front: Gateway, raw: Raw) -> None:
    pod = await raw(saying(plain(b"1"), b"", b"", plain(b"2")))
    assert [(await ask()).body, (await ask()).body] == [b"1", b"2"]
    assert (pod.by, retries(front)) == ([1, 1, 2, 3], 1)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 2"], ids=["pod gone", "reply begun"])
async def test_a_pod_that_goes_or_breaks_off_a_reply_is_lost_once(
    front: Gateway, raw: Raw, stub: Stub, begun: bytes
) -> None:
    """It is not asked again: there is nobody, or it has answered."""

    async def serve(pod: RawPod, line: Line) -> None:
        await pod.next(line)
        await line.say(plain(b"1"))
        await pod.next(line)
        if begun:
            await line.say(begun)
        else:
            pod.stop()

    pod = await raw(serve)
    assert (await ask()).body == b"1"
    await front.awake(await stub("pod-2"))
    front.balancer.lost(front.table.pods((NAMESPACE, "minilm"))[1])  # so that the first is asked
    assert b'"pod-2"' in (await ask()).body
    assert (pod.by, retries(front)) == ([1, 1], 1)


async def test_the_longest_idle_makes_room_for_a_new_one(stub: Stub) -> None:
    async with gateway(connections=2) as front:
        await front.asleep()
        pods = [await stub(f"pod-{number}") for number in range(3)]
        for pod in pods:
            await front.awake(pod)
            assert (await ask()).status == 200
            await front.gone(pod)
        assert len(front.pool) == 2
        assert front.pool.take(("127.0.0.1", pods[0].port)) is None
        assert front.pool.take(("127.0.0.1", pods[1].port)) is not None


async def test_they_make_room_for_many_at_once(stub: Stub) -> None:
    """As when pods are replaced: all are idle at the old ones, and all requests go to the new ones."""
    async with gateway(connections=10) as front:
        await front.asleep()
        old, new = await stub("old"), await stub("new")
        for pod in (old, new):
            await front.awake(pod)
            replies = await asyncio.gather(*(ask() for _ in range(10)))
            assert [reply.status for reply in replies] == [200] * 10
            await front.gone(pod)
        assert len(front.pool) <= 10


async def test_a_body_that_has_begun_to_go_out_is_not_sent_again(front: Gateway, raw: Raw) -> None:
    async def serve(pod: RawPod, line: Line) -> None:
        await pod.next(line)
        await line.say(plain(b"1"))
        await line.reader.readuntil(b"\r\n1\r\na\r\n")

    pod = await raw(serve)
    assert (await ask()).body == b"1"
    async with connected(PORT) as wire, asyncio.timeout(10):
        await wire.send(
            b"POST /embed HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
        )
        reply = await wire.reply()
    assert reply is not None
    assert (reply.status, len(pod.lines), retries(front)) == (503, 1, 1)


@pytest.mark.parametrize(
    "said", [b"SSH-2.0\r\n", OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"]
)
async def test_what_is_no_reply_is_a_lost_pod(
    front: Gateway, raw: Raw, stub: Stub, said: bytes
) -> None:
    async def serve(pod: RawPod, line: Line) -> None:
        await pod.next(line)
        await line.say(said)
        await line.ended()

    pod = await raw(serve)
    await front.awake(await stub("pod-2"))
    for _ in range(3):
        assert b'"pod-2"' in (await ask()).body
    assert (pod.by, retries(front)) == ([1], 1)


async def test_chunks_that_are_none_cut_a_reply_that_has_begun(raw: Raw) -> None:
    async def serve(pod: RawPod, line: Line) -> None:
        await pod.next(line)
        await line.say(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", b"nonsense\r\n")
        await line.ended()

    pod = await raw(serve)
    async with connected(PORT) as wire, asyncio.timeout(10):
        await wire.send(post("/embed", b"a"))
        await wire.reader.readuntil(b"\r\n\r\n1\r\na\r\n")
        with pytest.raises(ConnectionResetError):
            await wire.reader.read(-1)
    assert pod.by == [1]


async def test_idle_connections_are_closed_in_time(
    raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "KEEP_ALIVE_SECONDS", 0.1)
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.05)
    ended = asyncio.Event()

    async def serve(pod: RawPod, line: Line) -> None:
        await pod.next(line)
        await line.say(plain(b"1"))
        await line.ended()
        ended.set()

    await raw(serve)
    await ask()
    await asyncio.wait_for(ended.wait(), 10)


async def test_connections_to_pods_that_closed_them_are_forgotten(front: Gateway, raw: Raw) -> None:
    all_asked = asyncio.Barrier(3)

    async def serve(pod: RawPod, line: Line) -> None:
        await pod.next(line)
        await all_asked.wait()
        await line.say(plain(b"1"))
        await line.ended()

    pods = [await raw(serve, f"pod-{number}") for number in range(3)]
    await asyncio.gather(*(ask() for _ in pods))
    assert [pod.by for pod in pods] == [[1]] * 3
    assert len(front.pool) == 3
    for pod in pods:
        pod.stop()
    async with asyncio.timeout(10):
        while len(front.pool):
            await asyncio.sleep(0.005)


async def test_a_pod_that_does_not_answer_its_phone_is_left_out(
    front: Gateway, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue of connections is full: what more comes is dropped unanswered, as for a node that is lost."""
    monkeypatch.setattr(pool, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            await front.asleep()
            await front.put(**{SLICES: slice_of("minilm", ("pod-1", port), part="pod-1")})
            await front.awake(await stub("pod-2"))
            for _ in range(3):
                assert b'"pod-2"' in (await ask()).body
    assert retries(front) == 1


async def test_a_peer_that_says_nothing_is_asked_whether_it_is_there(
    front: Gateway, raw: Raw
) -> None:
    """A lost node ends no connection, and a request that waits for it would wait for ever."""
    pod = await raw(saying(plain(b"a")))
    upstream = await front.pool.connect(("127.0.0.1", pod.port))
    made = upstream._transport.get_extra_info("socket")
    assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    told = {
        socket.TCP_KEEPIDLE: 15,
        socket.TCP_KEEPINTVL: 5,
        socket.TCP_USER_TIMEOUT: 60_000,
        socket.TCP_NODELAY: 1,
    }
    assert {each: made.getsockopt(socket.IPPROTO_TCP, each) for each in told} == told


@pytest.mark.parametrize("sent", [0, 2, 4])
async def test_a_body_of_another_size_than_told_ends_the_connection(
    front: Gateway, raw: Raw, sent: int
) -> None:
    """The pod would take the next request for the rest of it."""

    async def serve(pod: RawPod, line: Line) -> None:
        await line.ended()

    async def pieces() -> AsyncGenerator[bytes, None]:
        for _ in range(sent):
            yield b"x"

    pod = await raw(serve)
    upstream = await front.pool.connect(("127.0.0.1", pod.port))
    head = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n"
    with pytest.raises(Broken, match=f"a body of {sent} bytes, not of 3"):
        await upstream.ask(head, Reply(), pieces(), size=3)
    assert not upstream.release()
    await pod.lines[0].over.wait()


async def test_connect_is_refused(front: Gateway, raw: Raw) -> None:
    """aiohttp takes it for one without a body, whatever length it tells."""
    pod = await raw(saying(plain(b"a")))
    async with connected(PORT) as wire, asyncio.timeout(10):
        await wire.send(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
        reply = await wire.reply()
    assert reply is not None
    assert (reply.status, pod.lines) == (405, [])


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_client_sees_that_its_reply_was_cut(
    front: Gateway, raw: Raw, version: bytes
) -> None:
    async def serve(pod: RawPod, line: Line) -> None:
        await pod.next(line)
        await line.say(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")
        await asyncio.sleep(0.05)

    await raw(serve)
    async with connected(PORT) as wire, asyncio.timeout(10):
        await wire.send(b"GET /x HTTP/%b\r\nHost: a\r\n\r\n" % version)
        await wire.reader.readuntil(b"begun")
        with pytest.raises(ConnectionResetError):
            await wire.reader.read(-1)
