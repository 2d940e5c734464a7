"""The connections of clients, at all ports of this process: how many, and which goes for a new one.

The one that has been idle for longest makes room. Where none is idle, the newcomer is surplus: it may send
its request, and is told to come back.
"""

import time
from collections.abc import Callable
from typing import Protocol

#: Each may hold some 0.2 MB before anybody has asked for it.
MOST = 4096
#: Seconds. A client that has just come, or been answered, is about to ask.
GRACE = 1.0


class Guest(Protocol):
    """A connection, which is told to go while it has no request in hand."""

    def force_close(self) -> None: ...


class Crowd:
    """Bounded but for those that have come within the grace."""

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._here: set[Guest] = set()
        self._idle: dict[Guest, float] = {}  # since when; the longest is first

    def __len__(self) -> int:
        return len(self._here)

    def enter(self, guest: Guest) -> bool:
        """Whether there is room for it."""
        if len(self._here) >= self.most:
            self._make_room()
        self._here.add(guest)
        self._idle[guest] = self._clock()
        return len(self._here) <= self.most

    def leave(self, guest: Guest) -> None:
        self._here.discard(guest)
        self._idle.pop(guest, None)

    def begin(self, guest: Guest) -> None:
        """It has a request in hand."""
        self._idle.pop(guest, None)

    def end(self, guest: Guest) -> None:
        """It has none any more."""
        if guest in self._here:
            self._idle[guest] = self._clock()

    def _make_room(self) -> None:
        longest = next(iter(self._idle), None)
        if longest is not None and self._clock() - self._idle[longest] >= GRACE:
            self.leave(longest)
            longest.force_close()
