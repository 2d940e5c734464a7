"""Heads both ways, line by line: what is of one connection stays there, and all else is what was sent."""

from collections.abc import Awaitable, Callable

import pytest

from rawpodkit import OK, RawPod, plain, saying, talk

Raw = Callable[..., Awaitable[RawPod]]

FORWARDED = b"X-Forwarded-For: 127.0.0.1"


def lines(head: bytes) -> list[bytes]:
    return head.rstrip(b"\r\n").split(b"\r\n")


async def test_a_request_is_passed_on_as_it_was_sent(raw: Raw) -> None:
    pod = await raw(saying(plain(b"a")))
    sent = (
        b"PATCH /a%2Fb//c?d=e&f#g HTTP/1.1\r\nX-B: 1\r\nhost: models.example\r\nx-a: \xe9 \xc3\xa9  \r\n"
        b"X-B: 0\r\nCookie: a=b\r\nContent-Encoding: gzip\r\nX-Empty:\r\nContent-Length: 2\r\n\r\nab"
    )
    await talk(sent)
    ((_, head, body),) = pod.asked
    assert body == b"ab"
    assert lines(head) == [
        b"PATCH /a%2Fb//c?d=e&f#g HTTP/1.1",
        b"X-B: 1",
        b"host: models.example",
        b"x-a: \xe9 \xc3\xa9",
        b"X-B: 0",
        b"Cookie: a=b",
        b"Content-Encoding: gzip",
        b"X-Empty: ",
        b"Content-Length: 2",
        FORWARDED,
    ]


async def test_what_is_of_the_clients_connection_is_not_passed_on(raw: Raw) -> None:
    pod = await raw(saying(plain(b"a")))
    await talk(
        b"POST http://models.example/x?y HTTP/1.1\r\nHost: a\r\nConnection: X-Mine, keep-alive\r\n"
        b"connection: x-yours , Content-Length, Host\r\nX-Mine: 1\r\nX-Yours: 2\r\nX-Forwarded-For: ::1\r\n"
        b"Keep-Alive: 1\r\nTE: trailers\r\nTrailer: X\r\nUpgrade: h2c\r\nProxy-Authorization: a\r\n"
        b"Proxy-Connection: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na"
    )
    ((_, head, body),) = pod.asked
    assert body == b"a"
    assert lines(head) == [
        b"POST /x?y HTTP/1.1",
        b"Content-Length: 1",
        b"Host: 127.0.0.1:%d" % pod.port,
        b"X-Forwarded-For: ::1, 127.0.0.1",
    ]


async def test_a_client_of_http_1_0_need_not_say_a_host(raw: Raw) -> None:
    pod = await raw(saying(plain(b"a")))
    assert (await talk(b"GET /x HTTP/1.0\r\n\r\n"))[1] == b"a"
    ((_, head, _),) = pod.asked
    assert lines(head) == [b"GET /x HTTP/1.1", b"Host: 127.0.0.1:%d" % pod.port, FORWARDED]


@pytest.mark.parametrize(
    ("method", "framing", "body", "passed_on"),
    [
        (b"GET", b"", b"", []),
        (b"OPTIONS", b"", b"", []),
        (b"POST", b"", b"", [b"Content-Length: 0"]),
        (b"DELETE", b"", b"", [b"Content-Length: 0"]),
        (b"GET", b"Content-Length: 0\r\n", b"", [b"Content-Length: 0"]),
        (b"GET", b"Content-Length: 1\r\n", b"a", [b"Content-Length: 1"]),
        (b"POST", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", [b"Transfer-Encoding: chunked"]),
        (b"PUT", b"Content-Length: 3000000\r\n", bytes(3_000_000), [b"Content-Length: 3000000"]),
        (b"PUT", b"Content-Length: 700000\r\n", bytes(700_000), [b"Content-Length: 700000"]),
    ],
)
async def test_a_body_ends_for_the_pod_as_it_does_for_the_gateway(
    raw: Raw, method: bytes, framing: bytes, body: bytes, passed_on: list[bytes]
) -> None:
    pod = await raw(saying(plain(b"a")))
    await talk(b"%b /x HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % (method, framing, body))
    ((_, head, got),) = pod.asked
    assert lines(head) == [b"%b /x HTTP/1.1" % method, b"Host: a", *passed_on, FORWARDED]
    assert got == body


@pytest.mark.parametrize(
    "line",
    [
        b"X-A: b\rX-C: d",
        b"X-A: b\nX-C: d",
        b"X-A: b\r\n X-C: d",
        b"X-A: b\x00X-C: d",
        b"X-A : b",
        b"X A: b",
        b": b",
        b"X-A",
        b"Host: b",
        b"Content-Length: 1\r\nContent-Length: 1",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked",
        b"Content-Length: +1",
        b"Transfer-Encoding: gzip",
    ],
)
async def test_no_line_that_could_be_two_gets_in(raw: Raw, line: bytes) -> None:
    """What the gateway writes for the pod relies on this."""
    pod = await raw(saying(plain(b"a")))
    head, _ = await talk(b"POST /x HTTP/1.1\r\nHost: a\r\n%b\r\n\r\na" % line)
    assert (lines(head)[0], pod.lines) == (b"HTTP/1.0 400 Bad Request", [])


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        (b"/a?b#c", b"/a?b#c"),
        (b"http://h/a?b", b"/a?b"),
        (b"http://h?b=/a", b"/?b=/a"),
        (b"http://h", b"/"),
        (b"/a://b/c", b"/a://b/c"),
    ],
)
async def test_a_proxys_form_of_a_target_loses_its_host(
    raw: Raw, sent: bytes, asked: bytes
) -> None:
    pod = await raw(saying(plain(b"a")))
    await talk(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % sent)
    ((_, head, _),) = pod.asked
    assert lines(head)[0] == b"GET %b HTTP/1.1" % asked


async def test_a_reply_is_passed_on_as_it_was_given(raw: Raw) -> None:
    said = (
        b"HTTP/1.1 299 Odd enough\r\nX-B: 1\r\nset-cookie: b=1\r\nX-A: \xc3\xa9  \r\nSet-Cookie: a=2\r\n"
        b"Content-Encoding: gzip\r\nX-Empty:\r\nContent-Type: a/b\r\nDate: now\r\nServer: pod\r\n"
        b"Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nTrailer: X\r\n"
        b"Proxy-Authenticate: a\r\nContent-Length: 2\r\n\r\n\x1f\x8b"
    )
    await raw(saying(said))
    head, body = await talk(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert body == b"\x1f\x8b"
    assert lines(head) == [
        b"HTTP/1.1 299 Odd enough",
        b"X-B: 1",
        b"set-cookie: b=1",
        b"X-A: \xc3\xa9",
        b"Set-Cookie: a=2",
        b"Content-Encoding: gzip",
        b"X-Empty: ",
        b"Content-Type: a/b",
        b"Date: now",
        b"Server: pod",
        b"Content-Length: 2",
        b"Connection: close",
    ]


async def test_a_reply_of_a_pod_that_names_no_server_names_this_one(raw: Raw) -> None:
    await raw(saying(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"))
    head, body = await talk(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert body == b"1\r\na\r\n0\r\n\r\n"
    assert b"Server: kubeembed" in lines(head)
