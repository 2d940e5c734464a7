"""Requests -> latencies, over kept HTTP/1.1 connections to a server on this machine.

Closed loop: each client sends its next request once the last is answered. Open loop: requests leave by a
Poisson clock, answered or not, and latency counts from when the clock said, so that a stalled server is seen
to stall. Raw asyncio: the load shares the server's cores, and a client library costs more than a reply.
"""

import asyncio
import ipaddress
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

#: Connections that an open loop may have; past that its requests wait, and the wait counts.
MAX_CONNECTIONS = 256


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it goes over the wire, and how many texts are in it."""

    wire: bytes
    texts: int


@dataclass(slots=True)
class Measured:
    """What a loop saw. latencies: seconds, of the calls that were answered with 200."""

    seconds: float = 0.0
    texts: int = 0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def texts_per_second(self) -> float:
        return self.texts / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        return sum(count for status, count in self.statuses.items() if status != 200)

    def percentile(self, share: float) -> float:
        """Seconds. share: 0.5 for the median."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def count(self, call: Call, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        if status == 200:
            self.latencies.append(seconds)
            self.texts += call.texts


def embeddings(
    texts: Sequence[str], model: str = "minilm", encoding_format: str | None = None
) -> Call:
    """POST /v1/embeddings, as OpenAI's clients send it; by default with numbers as the reply."""
    format_ = {} if encoding_format is None else {"encoding_format": encoding_format}
    body = json.dumps({"model": model, "input": list(texts), **format_}).encode()
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return Call(head.encode() + body, len(texts))


class Connection:
    """One kept connection with one request on it at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        """Raises ValueError for an address that is not this machine's loopback."""
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"{host} is not a loopback address; load goes to 127.0.0.1 or ::1")
        return cls(*await asyncio.open_connection(host, port, limit=2**20))

    async def ask(self, wire: bytes) -> tuple[int, bytes]:
        """The status and the body. Raises ValueError for a reply without Content-Length."""
        self._writer.write(wire)
        head = await self._reader.readuntil(b"\r\n\r\n")
        return int(head[9:12]), await self._reader.readexactly(_length(head))

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError(f"no Content-Length in {head!r}")


async def closed(
    port: int, calls: Sequence[Call], clients: int, *, host: str = "127.0.0.1", limit: float = 60
) -> Measured:
    """Each call once, by so many clients. No client begins another once `limit` seconds are over."""
    found = Measured()
    connections = [await Connection.open(host, port) for _ in range(clients)]
    left = iter(calls)
    begun = time.perf_counter()
    await asyncio.gather(*(_client(each, left, found, begun + limit) for each in connections))
    found.seconds = time.perf_counter() - begun
    for connection in connections:
        await connection.close()
    return found


async def _client(
    connection: Connection, left: Iterator[Call], found: Measured, end: float
) -> None:
    for call in left:
        begun = time.perf_counter()
        if begun > end:
            return
        status, _ = await connection.ask(call.wire)
        found.count(call, status, time.perf_counter() - begun)


async def opened(
    port: int, calls: Sequence[Call], rate: float, *, host: str = "127.0.0.1", seed: int = 1
) -> Measured:
    """Each call once, `rate` a second in the mean. It ends when all are answered."""
    found, source = Measured(), random.Random(seed)
    idle: list[Connection] = []
    room = asyncio.Semaphore(MAX_CONNECTIONS)

    async def send(call: Call, due: float) -> None:
        async with room:
            connection = idle.pop() if idle else await Connection.open(host, port)
            status, _ = await connection.ask(call.wire)
            idle.append(connection)
        found.count(call, status, time.perf_counter() - due)

    begun = due = time.perf_counter()
    sending: list[asyncio.Task[None]] = []
    for call in calls:
        due += source.expovariate(rate)
        await asyncio.sleep(due - time.perf_counter())
        sending.append(asyncio.create_task(send(call, due)))
    await asyncio.gather(*sending)
    found.seconds = time.perf_counter() - begun
    for connection in idle:
        await connection.close()
    return found


async def vectors(port: int, texts: Sequence[str], *, host: str = "127.0.0.1") -> list[list[float]]:
    """What the server answers for the texts, in one request. Raises ValueError for anything but 200."""
    connection = await Connection.open(host, port)
    try:
        status, body = await connection.ask(embeddings(texts).wire)
    finally:
        await connection.close()
    if status != 200:
        raise ValueError(f"status {status}: {body[:200]!r}")
    data = sorted(json.loads(body)["data"], key=lambda entry: int(entry["index"]))
    return [entry["embedding"] for entry in data]
