"""Load for a server that is ended again and again: every way in which a request can be on its way just then.

What the clients got whole is counted; what the server began to read, it counts itself.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import stubkit
from wirekit import Cut, Reply, Wire, connected, embeddings

SMALL = embeddings(stubkit.NAME, "what is the answer")
LARGE_COUNT = 600
HEAD_SIZE = SMALL.index(b"\r\n\r\n")
LARGE = embeddings(stubkit.NAME, ["a", "bc", "def"] * (LARGE_COUNT // 3), "base64")


@dataclass(slots=True)
class Tally:
    """Of all clients. whole: answers by status. unread: connections that ended before one came."""

    whole: Counter[int] = field(default_factory=Counter)
    last: int = 0
    unread: int = 0
    cut: list[str] = field(default_factory=list)

    def count(self, reply: Reply | None, inputs: int) -> bool:
        """Is the connection good for another?"""
        if reply is None:
            self.unread += 1
            return False
        self.whole[reply.status] += 1
        self.last += reply.last
        if reply.status == 200:
            assert len(json.loads(reply.body)["data"]) == inputs
        return not reply.last


async def kept(wire: Wire, tally: Tally, dice: random.Random) -> None:
    """One request after the other."""
    for _ in range(20):
        await wire.send(SMALL)
        if not tally.count(await wire.reply(), 1):
            return
        await asyncio.sleep(dice.uniform(0, 0.02))


async def pipelined(wire: Wire, tally: Tally, dice: random.Random) -> None:
    """Several at once, the last of them in two parts."""
    count = dice.randint(2, 6)
    sent = SMALL * count
    at = dice.randint(len(sent) - len(SMALL), len(sent))
    await wire.send(sent[:at])
    rest = asyncio.create_task(_later(wire, sent[at:], dice))
    for _ in range(count):
        if not tally.count(await wire.reply(), 1):
            break
    await rest


async def halved(wire: Wire, tally: Tally, dice: random.Random) -> None:
    """A request that stops somewhere, in its head or its body, and goes on."""
    at = dice.randint(1, len(SMALL) - 1)
    await wire.send(SMALL[:at])
    await _later(wire, SMALL[at:], dice)
    tally.count(await wire.reply(), 1)


async def large(wire: Wire, tally: Tally, dice: random.Random) -> None:
    """A large reply, read late, while a part of another head is on its way already."""
    await wire.send(LARGE)
    if dice.random() < 0.5:
        await wire.send(SMALL[: dice.randint(1, HEAD_SIZE)])
    await asyncio.sleep(dice.uniform(0, 0.2))
    tally.count(await wire.reply(), LARGE_COUNT)


async def _later(wire: Wire, data: bytes, dice: random.Random) -> None:
    await asyncio.sleep(dice.uniform(0, 0.3))
    try:
        await wire.send(data)
    except ConnectionError:
        return  # what came back, if anything, says how it ended


Client = Callable[[Wire, Tally, random.Random], Awaitable[None]]
CLIENTS: tuple[Client, ...] = (kept, kept, pipelined, pipelined, halved, halved, large)


async def load(port: int, tally: Tally, stop: asyncio.Event, dice: random.Random) -> None:
    """Until told to stop; then whatever was asked is still waited for."""

    async def run(client: Client, own: random.Random) -> None:
        while not stop.is_set():
            try:
                async with connected(port, limit=2**15) as wire:
                    await client(wire, tally, own)
            except Cut as cut:
                tally.cut.append(f"{client.__name__}: {cut}")
            except ConnectionError:
                await asyncio.sleep(0.02)

    await asyncio.gather(*(run(client, random.Random(dice.random())) for client in CLIENTS))
