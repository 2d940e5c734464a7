"""Connections to the pods, kept between requests: the last used is used next, so that the others can go."""

import asyncio
import errno
import socket

from kubeembed_gateway.errors import FULL_RETRY_SECONDS, Unavailable
from kubeembed_gateway.silence import end_silent
from kubeembed_gateway.upstream import Address, Upstream

#: Seconds that a connection may be idle, and between two looks at it. Pods close theirs after 75, and shall
#: never do so first.
KEEP_ALIVE_SECONDS, LOOK_SECONDS = 30.0, 10.0
CONNECT_SECONDS = 2.0
#: What this process, or its node, has no more of: no pod is to blame.
OWN_WANTS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

#: Seconds. A silent pod is asked after so long, and so often, whether it is still there.
ALIVE_AFTER, ALIVE_EVERY = 15, 5


class Unreached(Exception):
    """There is no connection."""


class Pool:
    """What waits for a reply waits as long as its client does."""

    def __init__(self, most: int) -> None:
        """most: past which one that is idle is closed for each new one."""
        self._most = most
        self._open: set[Upstream] = set()
        self._idle: dict[Address, dict[Upstream, float]] = {}
        self._look: asyncio.TimerHandle | None = None
        self._coming = 0
        self._closed = False

    def __len__(self) -> int:
        """Of those in use, too."""
        return len(self._open)

    def take(self, address: Address) -> Upstream | None:
        """One that is idle. Whoever has one gives it back."""
        idle = self._idle.get(address)
        return idle.popitem()[0] if idle else None

    async def connect(self, address: Address) -> Upstream:
        """A new one. Raises Unreached, and Unavailable where none is to be had here, whatever the pod."""
        self._coming += 1
        if len(self._open) + self._coming > self._most:
            self._close_longest_idle()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                upstream = await self._connected(address)
        except TimeoutError as error:
            raise Unreached(f"no connection within {CONNECT_SECONDS:g} s") from error
        except OSError as error:
            if error.errno in OWN_WANTS:
                problem = f"the gateway gets no connection to a pod: {error.strerror}"
                raise Unavailable("connections_full", problem, FULL_RETRY_SECONDS) from error
            raise Unreached(str(error)) from error
        finally:
            self._coming -= 1
        if not upstream.closed:
            self._open.add(upstream)
        if self._closed:
            upstream.close()
        return upstream

    def give(self, upstream: Upstream) -> None:
        """Back, whatever has come of its request."""
        if not upstream.release():
            return
        loop = asyncio.get_running_loop()
        self._idle.setdefault(upstream.address, {})[upstream] = loop.time()
        if self._look is None:
            self._look = loop.call_later(LOOK_SECONDS, self._close_idle)

    def close(self) -> None:
        """All of them, now and later."""
        self._closed = True
        for upstream in list(self._open):
            upstream.close()
        if self._look is not None:
            self._look.cancel()

    async def _connected(self, address: Address) -> Upstream:
        loop = asyncio.get_running_loop()
        watched = _watchful(address[0])
        try:
            await loop.sock_connect(watched, address)
            _, upstream = await loop.create_connection(
                lambda: Upstream(address, self._forget), sock=watched
            )
        except BaseException:
            watched.close()
            raise
        return upstream

    def _forget(self, upstream: Upstream) -> None:
        self._open.discard(upstream)
        self._idle.get(upstream.address, {}).pop(upstream, None)

    def _close_longest_idle(self) -> None:
        longest = [next(iter(idle.items())) for idle in self._idle.values() if idle]
        if longest:
            min(longest, key=lambda each: each[1])[0].close()

    def _close_idle(self) -> None:
        """Those that have been so for long."""
        loop = asyncio.get_running_loop()
        since = loop.time() - KEEP_ALIVE_SECONDS
        for idle in self._idle.values():
            for upstream in [each for each, begun in idle.items() if begun <= since]:
                upstream.close()
        self._idle = {address: idle for address, idle in self._idle.items() if idle}
        self._look = loop.call_later(LOOK_SECONDS, self._close_idle) if self._idle else None


def _watchful(host: str) -> socket.socket:
    """A socket that notices a peer that is no more. A pod that takes no more of a body has as long."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ALIVE_AFTER)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ALIVE_EVERY)
    end_silent(made)
    return made
