"""What the test servers have in common: a request log, and bodies that go wrong as a fault says."""

import re
import socket
import struct
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, Self

from hub_faults import Entry, Fault, Faults, Log

BLOCK = 1 << 18
RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Readable(Protocol):
    """A file, or the body of another server's answer."""

    def read(self, size: int, /) -> bytes: ...


class FaultyServer:
    """Use as a context manager. The handler's `server.owner` is this."""

    def __init__(self, handler: type["FaultyHandler"], address: tuple[str, int]) -> None:
        self.faults = Faults()
        self.log = Log()
        self._server = OwnedServer(self, address, handler)

    def fault(self, **what: Any) -> Fault:
        return self.faults.add(Fault(**what))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.faults.clear()
        self._server.shutdown()
        self._server.server_close()


class OwnedServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, owner: FaultyServer, address: tuple[str, int], handler: type["FaultyHandler"]
    ) -> None:
        self.owner: Any = owner  # of the kind that the handler is for
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that do not trust us, or are killed, are the point of it."""


class FaultyHandler(BaseHTTPRequestHandler, ABC):
    """A handler sets `_entry`, the request's place in the log, before it answers."""

    protocol_version = "HTTP/1.1"
    _entry: Entry

    def _send_body(self, content: Readable, first: int, length: int, fault: Fault) -> None:
        """`content` stands at `first` of the file and has, or is said to have, `length` bytes from there."""
        stops = [stop for stop in (fault.truncate, fault.reset, fault.stall) if stop is not None]
        end = min([length, *stops])
        done = 0
        while done < end:
            block = content.read(min(BLOCK, end - done, fault.rate or BLOCK))
            block = block or bytes(min(BLOCK, end - done))  # what `extra` asks for
            self._send(_corrupted(block, first + done, fault.corrupt))
            done += len(block)
            if fault.rate and fault.lifted.wait(len(block) / fault.rate):
                fault.rate = None
        if end < length:
            self._break_off(fault)

    def _break_off(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.stall is not None:
            self._until_gone(fault)
        if fault.reset is not None:
            linger = struct.pack("ii", 1, 0)  # close() then sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    def _until_gone(self, fault: Fault) -> None:
        """Until the fault is taken away, or the client or this server closes the connection."""
        self.connection.settimeout(0.1)
        while not fault.lifted.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    def _send(self, block: bytes) -> None:
        """Counted before it is sent, so that whoever has got it finds it in the log."""
        self._entry.sent += len(block)
        try:
            self.wfile.write(block)
        except OSError:
            self._entry.sent -= len(block)
            raise

    def _fail(self, fault: Fault) -> None:
        if fault.hang:
            self.close_connection = True
            return self._until_gone(fault)
        assert fault.status is not None
        return self._error(fault.status, None, fault.message, fault.headers)

    @abstractmethod
    def _error(
        self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None
    ) -> None:
        """In the words of the server's own protocol."""

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, {"Content-Length": str(len(body))} | headers)
        if self.command != "HEAD":
            self._send(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self._entry.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The log is /_log."""


def _corrupted(block: bytes, offset: int, wrong: int | None) -> bytes:
    """The block, which starts at `offset` of the file, with the byte at `wrong` changed if it is in it."""
    if wrong is None or not 0 <= wrong - offset < len(block):
        return block
    changed = bytearray(block)
    changed[wrong - offset] ^= 0xFF
    return bytes(changed)
