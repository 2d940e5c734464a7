"""What the hub does wrong on demand, and the log of what it was asked and has sent.

A fault says which requests it meets (pattern of the path, how many times) and what happens to them. Faults
of the body (truncate, corrupt, stall, reset, rate) meet only requests that get content of a file, so that a
redirect or a HEAD does not use them up.
"""

import json
import threading
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any


@dataclass(slots=True, kw_only=True)
class Fault:
    """One wrong behaviour. `count` is how many requests it still meets; None means until taken away."""

    path: str = "*"
    count: int | None = None
    # Instead of an answer
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "as the fault says"
    hang: bool = False  # no answer at all, until the client goes or the fault is taken away
    # Of the body. Bytes count from the start of this response, `corrupt` from the start of the file
    truncate: int | None = None  # ends after so many bytes
    reset: int | None = None  # the connection is reset after so many bytes
    stall: int | None = None  # nothing more comes after so many bytes
    corrupt: int | None = None  # the byte at this offset is another one
    extra: int | None = None  # so many zero bytes too many, and a Content-Length that says so
    rate: int | None = None  # bytes per second
    ignore_range: bool = False  # the whole file, whatever Range asks for
    encoding: str | None = None  # what Content-Encoding claims
    lifted: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    @property
    def instead(self) -> bool:
        return self.status is not None or self.hang

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if name != "lifted"}


class Faults:
    """The faults in force, oldest first; the first that meets a request is the one it gets."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Takes all away; the connections of requests that hang or stall in them are closed."""
        with self._lock:
            gone, self._faults = self._faults, []
        for fault in gone:
            fault.lifted.set()

    def all(self) -> list[dict[str, Any]]:
        with self._lock:
            return [fault.as_json() for fault in self._faults]

    def take(self, path: str, *, body: bool) -> Fault | None:
        """The fault that this request gets, one of its times used up. `body`: content is to be sent."""
        with self._lock:
            for fault in self._faults:
                wanted = fault.instead != body and fnmatchcase(path, fault.path)
                if wanted and fault.count != 0:
                    if fault.count is not None:
                        fault.count -= 1
                    return fault
        return None


@dataclass(slots=True, kw_only=True)
class Entry:
    """One request. `sent` counts bytes of the body; it grows while the body is being sent."""

    method: str
    path: str
    range: str | None
    authorized: bool  # an Authorization header came with it
    status: int = 0
    sent: int = 0


class Log:
    """Every request since the last reset, in order of arrival."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def open(self, entry: Entry) -> Entry:
        with self._lock:
            self._entries.append(entry)
        return entry

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def entries(self, path: str = "*") -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(entry) for entry in self._entries if fnmatchcase(entry.path, path)]

    def sent(self, path: str = "*") -> int:
        """Bytes of bodies sent for paths that match."""
        return sum(entry["sent"] for entry in self.entries(path))

    def lines(self) -> bytes:
        return b"".join(json.dumps(entry).encode() + b"\n" for entry in self.entries())
