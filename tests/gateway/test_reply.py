"""The bytes of a reply, however they are cut: it is whole and the same each time, or it is none."""

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubeembed_gateway.reply import MAX_HEAD_BYTES, Malformed, Reply

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

#: The bytes, what is made of them, and whether the connection can go on. Of HEAD where the name says so.
WHOLE: dict[str, tuple[bytes, tuple[int, str, list[tuple[str, str]], bytes], bool]] = {
    "with a length": (
        OK + b"content-length: 5\r\nX-A:  1 \t\r\n\r\nhello",
        (200, "OK", [("content-length", "5"), ("X-A", "1")], b"hello"),
        True,
    ),
    "empty": (OK + b"Content-Length: 0\r\n\r\n", (200, "OK", [("Content-Length", "0")], b""), True),
    "headers twice, empty, and no UTF-8": (
        OK + b"Set-Cookie: b=1\r\nSet-Cookie: a=\xe9\r\nX:\r\nSet-Cookie: c=\xc3\xa9\r\n"
        b"Content-Length: 0\r\n\r\n",
        (
            200,
            "OK",
            [
                ("Set-Cookie", "b=1"),
                ("Set-Cookie", "a=\udce9"),
                ("X", ""),
                ("Set-Cookie", "c=é"),
                ("Content-Length", "0"),
            ],
            b"",
        ),
        True,
    ),
    "without a reason": (
        b"HTTP/1.1 418\r\nContent-Length: 1\r\n\r\na",
        (418, "", [("Content-Length", "1")], b"a"),
        True,
    ),
    "in chunks, with trailers": (
        OK
        + b"Transfer-Encoding: chunked \r\n\r\n"
        + b"3\r\nabc\r\n002;a=b\r\nde\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
        (200, "OK", [("Transfer-Encoding", "chunked")], b"abcde"),
        True,
    ),
    "after interim ones": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nab",
        (200, "OK", [("Content-Length", "2")], b"ab"),
        True,
    ),
    "204": (
        b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
        (204, "No Content", [("A", "b")], b""),
        True,
    ),
    "304 that tells a length": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        (304, "Not Modified", [("Content-Length", "9")], b""),
        True,
    ),
    "HEAD that tells a length": (
        OK + b"Content-Length: 9\r\n\r\n",
        (200, "OK", [("Content-Length", "9")], b""),
        True,
    ),
    "HEAD in chunks": (OK + CHUNKED, (200, "OK", [("Transfer-Encoding", "chunked")], b""), False),
    "the last": (
        OK + b"Connection: close\r\nContent-Length: 1\r\n\r\na",
        (200, "OK", [("Connection", "close"), ("Content-Length", "1")], b"a"),
        False,
    ),
    "HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
        (200, "OK", [("Content-Length", "1")], b"a"),
        False,
    ),
    "HTTP/1.0 that goes on": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
        (200, "OK", [("Connection", "keep-alive"), ("Content-Length", "1")], b"a"),
        True,
    ),
}

MALFORMED = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status that is none": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "an interim one with a body": b"HTTP/1.1 199 Odd\r\nContent-Length: 1\r\n\r\na",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "one length twice": OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "no length": OK + b"Content-Length: -1\r\n\r\n",
    "a length too large": OK + b"Content-Length: 99999999999999999999\r\n\r\n",
    "length and chunks": OK + b"Content-Length: 1\r\n" + CHUNKED,
    "another coding": OK + b"Transfer-Encoding: gzip\r\n\r\na",
    "another coding in chunks": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "a chunk of no size": OK + CHUNKED + b"z\r\n",
    "a chunk longer than it says": OK + CHUNKED + b"1\r\nab\r\n",
    "a folded header": OK + b"A: b\r\n c\r\n\r\n",
    "a header without a colon": OK + b"A b\r\n\r\n",
    "a NUL": OK + b"A: \x00\r\n\r\n",
    "a bare CR": OK + b"A: b\rC: d\r\n\r\n",
    "a bare LF": OK + b"A: b\nC: d\r\n\r\n",
    "a reason with a tab": b"HTTP/1.1 200 O\tK\r\nContent-Length: 0\r\n\r\n",
    "one header too large": OK + b"A: " + b"a" * (MAX_HEAD_BYTES + 100),
    "many headers": OK + b"A: bcdefgh\r\n" * (MAX_HEAD_BYTES // 7) + b"\r\n",
    "many interim ones": b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_HEAD_BYTES // 20),
    "trailers too large": OK + CHUNKED + b"0\r\nA: " + b"a" * (MAX_HEAD_BYTES + 100),
    "what follows the size of a chunk": OK + CHUNKED + b"1;" + b"a" * (MAX_HEAD_BYTES + 100),
}


def read(pieces: Iterable[bytes], *, head: bool = False, short_bytes: int = 0) -> Reply:
    """Raises Malformed."""
    reply = Reply(bodiless=head, short_bytes=short_bytes)
    for piece in pieces:
        assert not reply.whole
        reply.feed(piece)
    return reply


def made(reply: Reply) -> tuple[int, str, list[tuple[str, str]], bytes]:
    return reply.status, reply.reason, list(reply.headers.items()), reply.take()


def cut(whole: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({place % len(whole) for place in places} | {len(whole)})
    return [whole[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


@pytest.mark.parametrize("name", WHOLE)
def test_a_reply_is_the_same_wherever_it_is_cut(name: str) -> None:
    sent, expected, goes_on = WHOLE[name]
    head = name.startswith("HEAD")
    for places in ([], *([place] for place in range(1, len(sent))), range(1, len(sent))):
        reply = read(cut(sent, places), head=head)
        assert (made(reply), reply.whole, reply.ready) == (expected, True, True)
        assert (not reply.last, reply.silent) == (goes_on, False)


@pytest.mark.parametrize("name", WHOLE)
def test_a_reply_that_ends_early_is_never_whole(name: str) -> None:
    sent, *_ = WHOLE[name]
    for end in range(len(sent)):
        reply = read([sent[:end]] if end else [], head=name.startswith("HEAD"))
        reply.feed_eof()
        assert not reply.whole


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_reply_is_none_wherever_it_is_cut(name: str) -> None:
    sent = MALFORMED[name]
    step = max(1, len(sent) // 50)
    for places in ([], *([place] for place in range(1, len(sent), step)), range(1, 200)):
        with pytest.raises(Malformed):
            read(cut(sent, places))


@example("HEAD in chunks", [], b"0")
@given(st.sampled_from(list(WHOLE)), st.lists(st.integers(0, 10_000)), st.binary())
def test_a_reply_is_whole_whatever_follows_it(name: str, places: list[int], more: bytes) -> None:
    sent, expected, goes_on = WHOLE[name]
    *before, last = cut(sent, places)
    reply = read([*before, last + more], head=name.startswith("HEAD"))
    assert (made(reply), reply.whole) == (expected, True)
    # blank lines alone, which begin no reply, are no harm
    assert reply.last or (goes_on and not more.strip(b"\r\n"))


@given(st.sampled_from([*WHOLE, *MALFORMED]), st.randoms(use_true_random=False))
def test_whatever_a_pod_sends_is_a_reply_or_none(name: str, dice: random.Random) -> None:
    """Bytes are changed, lost and doubled."""
    sent = bytearray(WHOLE[name][0] if name in WHOLE else MALFORMED[name][:500])
    for _ in range(dice.randrange(1, 4)):
        place = dice.randrange(len(sent))
        sent[place : place + dice.randrange(3)] = dice.randbytes(dice.randrange(3))
    reply = Reply()
    try:
        for piece in cut(bytes(sent) or b"\r", [dice.randrange(10_000) for _ in range(5)]):
            if not reply.whole:
                reply.feed(piece)
    except Malformed:
        assert not reply.whole
    else:
        assert reply.ready or not reply.whole


def test_without_a_length_the_end_of_the_connection_is_the_end_of_the_reply() -> None:
    reply = read([OK, b"A: b\r\n\r\nhel", b"lo"])
    assert (reply.ready, reply.whole) == (True, False)
    reply.feed_eof()
    assert (reply.whole, reply.last) == (True, True)
    assert made(reply) == (200, "OK", [("A", "b")], b"hello")


@pytest.mark.parametrize(("length", "short"), [(b"5", True), (b"6", False)])
def test_a_short_reply_is_ready_when_it_is_whole_and_a_long_one_with_its_head(
    length: bytes, short: bool
) -> None:
    reply = read([OK + b"Content-Length: " + length + b"\r\n\r\n", b"hell"], short_bytes=5)
    assert (reply.short, reply.ready, reply.whole, reply.waiting) == (short, not short, False, 4)
    reply.feed(b"o!"[: int(length) - 4])
    assert (reply.ready, reply.whole, reply.waiting) == (True, True, int(length))


def test_nothing_of_a_reply_is_left_for_the_next() -> None:
    """httptools keeps the last trailer for whichever headers come next."""
    first = read([OK + CHUNKED + b"1\r\na\r\n0\r\nSet-Cookie: mine\r\n\r\n"])
    second = read([OK + b"Content-Length: 0\r\n\r\n"])
    found: list[Any] = [list(each.headers) for each in (first, second)]
    assert found == [["Transfer-Encoding"], ["Content-Length"]]
