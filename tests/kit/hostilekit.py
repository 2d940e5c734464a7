"""What nobody should send: each attack is sent once and says what came back."""

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable

from wirekit import Reply, Wire, connected, embeddings, post

MIB = 2**20
PATHS = (
    "/v1/embeddings",
    "/v2/embed",
    "/embed",
    "/rerank",
    "/v1/encode/minilm",
    "/v1/score/minilm",
)
MSGPACK = "application/msgpack"

#: As long as an attack waits for a reply, or holds its connection.
PATIENCE_SECONDS = 60.0

Attack = Callable[[int, random.Random], Awaitable[list[Reply]]]


async def _ask(port: int, *pieces: bytes) -> list[Reply]:
    """All replies to what is sent in pieces, until the server ends or has answered once."""
    async with connected(port) as wire:
        sending = asyncio.create_task(_send(wire, pieces))
        async with asyncio.timeout(PATIENCE_SECONDS):
            reply = await wire.reply()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        return [] if reply is None else [reply]


async def _send(wire: Wire, pieces: "tuple[bytes, ...]") -> None:
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            await wire.send(piece)


def openai(*inputs: str) -> bytes:
    """A body with inputs as they stand, which may be no JSON."""
    return b'{"model":"minilm","input":[' + ",".join(inputs).encode() + b"]}"


def _items(count: int, item: bytes) -> bytes:
    return b"\x81\xa5items\xdd" + count.to_bytes(4, "big") + item * count


GARBAGE = (
    b"",
    b"\x00" * 1000,
    b"\xff\xfe{}",
    b"{",
    b'{"model":',
    b'{"model":"minilm","input":"a"',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"[]",
    b"null",
    b"1e999",
    b'{"model":"minilm","input":"a","input":{}}',
    b'{"model":1,"texts":2,"inputs":3,"items":4,"query":5}',
    b'{"model":"minilm:none","input":"a"}',
    openai(r'"\ud800"'),
    openai(r'"a\udfff"'),
    openai('"\x00"'),
    openai(r'"\u0000\uffff"'),
    openai("-1"),
    openai("9" * 400),
    openai('"a"', "1"),
    openai('""'),
    b'{"inputs":"\\ud800"}',
    b'{"query":"\\u0000","texts":["\\u0000",""]}',
)
PACKED = (
    b"",
    b"\xc1",
    b"\x80",
    b"\x91" * 100_000,
    b"\x81\xa5items\xdd\xff\xff\xff\xff",
    b"\x81\xa5items\x91\x81\xa4text\xdb\xff\xff\xff\xff",
    b"\x81\xa5items\x91\x81\xa4text\xa3\xed\xa0\x80",
    b"\x81\xa5items\x91\x81\xa8metadata" + b"\x81\xa1a" * 100_000,
    _items(1_000_000, b"\x80"),
    b"\x81\xa5items\x91\x81\xa6images\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000,
)
LARGE = (
    openai(*['"a"'] * 10**6),
    openai(*["[1]"] * (4 * 10**6)),
    openai(*["[]"] * (5 * 10**6)),
    openai(*["1000"] * (3 * 10**6)),
    openai(json.dumps("語" * (5 * MIB), ensure_ascii=False)),
    openai(json.dumps("what is the answer " * 800_000)),
    openai(*[json.dumps("word " * 2000)] * 1600),
)
UNSPEAKABLE = (
    b"\x00" * 100,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET\r\n\r\n",
    b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST /v1/embeddings HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50_000,
    b"GET /%ff%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"DELETE /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
)


async def garbage(port: int, dice: random.Random) -> list[Reply]:
    return await _ask(port, post(dice.choice(PATHS), dice.choice(GARBAGE)))


async def noise(port: int, dice: random.Random) -> list[Reply]:
    media = dice.choice(("application/json", MSGPACK))
    return await _ask(port, post(dice.choice(PATHS), dice.randbytes(2000), media=media))


async def packed(port: int, dice: random.Random) -> list[Reply]:
    path = dice.choice(("/v1/encode/minilm", "/v1/score/minilm"))
    return await _ask(port, post(path, dice.choice(PACKED), media=MSGPACK))


async def wrong_media(port: int, dice: random.Random) -> list[Reply]:
    media = dice.choice(
        ("text/plain", "application/xml", "multipart/form-data; boundary=a", "\x7f")
    )
    return await _ask(port, post(dice.choice(PATHS), openai('"a"'), media=media))


async def unspeakable(port: int, dice: random.Random) -> list[Reply]:
    """No HTTP, or hardly."""
    sent = dice.choice(UNSPEAKABLE)
    async with connected(port) as wire:
        await wire.send(sent)
        try:
            async with asyncio.timeout(1):
                reply = await wire.reply()
        except TimeoutError:
            return []
        return [] if reply is None else [reply]


async def large(port: int, dice: random.Random) -> list[Reply]:
    return await _ask(port, post("/v1/embeddings", dice.choice(LARGE)))


async def hundred_megabytes(port: int, dice: random.Random) -> list[Reply]:
    head = post("/v1/embeddings", b"", length=100 * MIB)
    return await _ask(port, head, *[bytes(MIB)] * 100)


async def half_sent(port: int, dice: random.Random) -> list[Reply]:
    """A head or a body that stops; held for a while, then dropped or half-closed."""
    whole = post(dice.choice(PATHS), openai(*['"a"'] * 20_000))
    async with connected(port) as wire:
        await wire.send(whole[: dice.choice((10, 60, 1000, 50_000))])
        await asyncio.sleep(dice.uniform(0, 5))
        if dice.random() < 0.5:
            wire.writer.write_eof()
            await asyncio.sleep(0.1)
    return []


async def dripping(port: int, dice: random.Random) -> list[Reply]:
    """A byte at a time, and never all."""
    async with connected(port) as wire:
        for byte in embeddings("minilm", "a")[:50]:
            await wire.send(bytes([byte]))
            await asyncio.sleep(0.1)
    return []


async def leaving(port: int, dice: random.Random) -> list[Reply]:
    """Asks for much, and leaves before, while or after the first of it comes."""
    async with connected(port, limit=2**12) as wire:
        await wire.send(embeddings("minilm", ["word"] * 64))
        await asyncio.sleep(dice.uniform(0, 0.1))
        if dice.random() < 0.5:
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(5):
                    await wire.reader.read(100)
        if dice.random() < 0.5:
            wire.writer.transport.abort()
        else:
            wire.writer.write_eof()
            await asyncio.sleep(0.2)
    return []


async def crowd(port: int, dice: random.Random) -> list[Reply]:
    """Many connections that ask nothing."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(100):
            await stack.enter_async_context(connected(port))
        await asyncio.sleep(dice.uniform(0, 2))
    return []


#: With how often each is taken.
ATTACKS: dict[Attack, int] = {
    garbage: 8,
    noise: 4,
    packed: 6,
    wrong_media: 4,
    unspeakable: 6,
    large: 2,
    hundred_megabytes: 1,
    half_sent: 4,
    dripping: 2,
    leaving: 3,
    crowd: 1,
}


async def attack(
    port: int, dice: random.Random, stop: asyncio.Event, seen: Callable[[str, Reply], None]
) -> None:
    """One attack after the other, until told to stop."""
    while not stop.is_set():
        (chosen,) = dice.choices(list(ATTACKS), list(ATTACKS.values()))
        with contextlib.suppress(ConnectionError):
            for reply in await chosen(port, dice):
                seen(chosen.__name__, reply)
