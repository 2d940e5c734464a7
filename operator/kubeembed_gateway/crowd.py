"""The connections of clients, at all ports of this process: how many, and which go for a new one.

Those that have been idle for longest make room. Where none is, the newcomer is surplus: it may ask once, and
is told to come back unless others have gone by then.
"""

import time
from collections.abc import Callable
from typing import Protocol

#: As the pods have it. A connection may hold 0.14 MB, of a body that its pod takes slowly.
MOST = 2048
#: So many may be told to come back at once; whoever comes then is shut out without a word.
SURPLUS = 256
#: Seconds. A client that has just come, or been answered, is about to ask.
GRACE = 1.0


class Guest(Protocol):
    """A connection. idle: nothing has come that is not answered, nothing is on its way out."""

    @property
    def idle(self) -> bool: ...

    def force_close(self) -> None: ...


class Crowd:
    """`begin` and `end` are called around each request of a guest."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._here: set[Guest] = set()
        self._since: dict[Guest, float] = {}  # without a request in hand; the longest is first

    def __len__(self) -> int:
        return len(self._here)

    @property
    def full(self) -> bool:
        """Whether there are more than there is room for."""
        return len(self._here) > self.most

    def enter(self, guest: Guest) -> None:
        self._here.add(guest)
        self._since[guest] = self._clock()
        if self.full:
            self._make_room()
        if len(self._here) > self.most + SURPLUS:
            self._send_away(guest)

    def leave(self, guest: Guest) -> None:
        self._here.discard(guest)
        self._since.pop(guest, None)

    def begin(self, guest: Guest) -> None:
        self._since.pop(guest, None)

    def end(self, guest: Guest) -> None:
        if guest in self._here:
            self._since[guest] = self._clock()

    def _make_room(self) -> None:
        until = self._clock() - GRACE
        for guest in [each for each, since in self._since.items() if since <= until]:
            if guest.idle:
                self._send_away(guest)
            if not self.full:
                return

    def _send_away(self, guest: Guest) -> None:
        self.leave(guest)
        guest.force_close()
