"""Many clients, and pods that answer in every way that they should not: each has its own reply, or none."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from gatewaykit import COMMON_PORT
from rawpodkit import OK, Line, RawPod, plain
from wirekit import Reply, connected, post

Raw = Callable[..., Awaitable[RawPod]]

#: The end of what a pod says on a connection, which it closes.
CUT = b""
#: To a body, with the same body.
ODD: tuple[Callable[[bytes], tuple[bytes, ...]], ...] = (
    lambda body: (plain(body),),
    lambda body: (plain(body), CUT),
    lambda body: (plain(body)[:-2], body[-2:]),
    lambda body: (b"HTTP/1.1 100 Continue\r\n\r\n" + plain(body, b"Connection: close"),),
    lambda body: (plain(body) + plain(b"nobody's"),),
    lambda body: (plain(body) + b"HTTP/1.1 200",),
    lambda body: (plain(body)[:20], CUT),
    lambda body: (CUT,),
)


async def test_nobody_gets_what_is_anothers(raw: Raw) -> None:
    dice = random.Random(0)

    async def serve(pod: RawPod, line: Line) -> None:
        said: tuple[bytes, ...] = (OK,)
        while said[-1] is not CUT:
            _, body = await pod.next(line)
            await asyncio.sleep(dice.choice((0, 0, 0.001, 0.005)))
            said = dice.choice(ODD)(body)
            await line.say(*said)

    async def client(number: int) -> list[tuple[bytes, Reply | None]]:
        found = []
        for turn in range(30):
            body = b"%d of %d" % (turn, number)
            async with connected(COMMON_PORT) as wire, asyncio.timeout(20):
                await wire.send(post("/v1/encode/minilm", body))
                if dice.random() < 0.1:
                    await asyncio.sleep(dice.choice((0, 0.001, 0.004)))
                    wire.writer.transport.abort()
                else:
                    found.append((body, await wire.reply()))
        return found

    for number in range(3):
        await raw(serve, f"pod-{number}")
    clients = await asyncio.gather(*(client(number) for number in range(20)))
    replies = [each for found in clients for each in found]
    assert {reply and reply.status for _, reply in replies} <= {200, 503}
    served = [(body, reply.body) for body, reply in replies if reply and reply.status == 200]
    assert len(served) > len(replies) / 2
    assert [body for body, _ in served] == [got for _, got in served]
