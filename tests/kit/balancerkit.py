"""A Service in small: TCP to the ready ones in turn, with the lag that kubelet and kube-proxy have."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator

from runtimekit import PATIENCE_SECONDS, Process

#: Between two looks at /readyz.
LAG_SECONDS = 0.1


class Balancer:
    """A listening port before replicas. A connection stays with the replica that it was given to."""

    def __init__(self) -> None:
        self.replicas: list[Process] = []
        self.refused = 0
        self._ready: list[Process] = []
        self._turns = itertools.count()
        self._held: set[asyncio.Task[None]] = set()
        self.port = 0

    async def until_ready(self, count: int) -> None:
        last = time.monotonic() + PATIENCE_SECONDS
        while len(self._ready) < count:
            for one in self.replicas:
                assert one.popen.poll() is None, one.log.read_text()
            assert time.monotonic() < last, [one.log.read_text() for one in self.replicas]
            await asyncio.sleep(0.02)

    async def until_left(self, replica: Process) -> None:
        """Until it is seen to be ready no more."""
        async with asyncio.timeout(60):
            while replica in self._ready:
                await asyncio.sleep(0.02)

    async def look(self) -> None:
        """For ever."""
        while True:
            seen = list(self.replicas)
            states = await asyncio.gather(*(asyncio.to_thread(_state, one) for one in seen))
            self._ready = [one for one, ready in zip(seen, states, strict=True) if ready]
            await asyncio.sleep(LAG_SECONDS)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Raises nothing: what a replica refuses, its client sees refused."""
        ready = self._ready
        try:
            port = ready[next(self._turns) % len(ready)].port
            inner, outer = await asyncio.open_connection("127.0.0.1", port)
        except (ConnectionError, ZeroDivisionError):
            self.refused += 1
            writer.transport.abort()
            return
        await asyncio.gather(_pass(reader, outer), _pass(inner, writer))


def _state(process: Process) -> bool:
    return process.admin("/readyz")[0] == 200


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes, and the end of them."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def balanced() -> AsyncIterator[Balancer]:
    """Listening."""
    balancer = Balancer()
    server = await asyncio.start_server(balancer.accept, "127.0.0.1", 0)
    balancer.port = server.sockets[0].getsockname()[1]
    looking = asyncio.create_task(balancer.look())
    try:
        yield balancer
    finally:
        looking.cancel()
        server.close()
