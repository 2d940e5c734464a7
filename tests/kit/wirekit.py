"""HTTP/1.1 as bytes, for clients that no library would be: pipelining, half sent, slow, leaving."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any


class Cut(AssertionError):
    """A reply that began and did not end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole one. headers: in lower case. last: the server closes the connection after it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def last(self) -> bool:
        return self.headers.get("connection") == "close"


def post(
    path: str, body: bytes, *, media: str = "application/json", length: int | None = None
) -> bytes:
    """A request. length: what it says of its body, if that is not so."""
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {media}\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


def embeddings(model: str, texts: Any, encoding_format: str = "float") -> bytes:
    """As OpenAI's client sends it."""
    body = {"model": model, "input": texts, "encoding_format": encoding_format}
    return post("/v1/embeddings", json.dumps(body).encode())


@dataclass(frozen=True, slots=True)
class Wire:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self) -> Reply | None:
        """None where the server ended, or reset, the connection before a byte of it. Raises Cut."""
        head = await self._head()
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        try:
            body = await self.reader.readexactly(int(headers["content-length"]))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut(f"{first}: its body was cut: {error}") from error
        return Reply(status=int(first.split()[1]), headers=headers, body=body)

    async def _head(self) -> bytes | None:
        try:
            return await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise Cut(f"a head was cut: {error.partial[:200]!r}") from error
        except ConnectionError:
            pass
        return None


@contextlib.asynccontextmanager
async def connected(port: int, *, limit: int = 2**16) -> AsyncIterator[Wire]:
    """On loopback. Raises ConnectionError. limit: how much of a reply waits here to be read, halved."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    try:
        yield Wire(reader, writer)
    except BaseException:
        writer.transport.abort()
        raise
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
