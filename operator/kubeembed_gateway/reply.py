"""What a pod's connection brings -> one reply: its head, the pieces of its body, and its end. No I/O.

httptools parses. Here is what it leaves to its user: interim replies are skipped, trailers dropped, a reply
to HEAD has no body, and one without a length ends with its connection. Each reply has a parser of its own, so
that nothing of one is taken for a part of the next.
"""

from httptools import HttpParserError, HttpResponseParser
from multidict import CIMultiDict, istr

CONTENT_LENGTH, TRANSFER_ENCODING = istr("Content-Length"), istr("Transfer-Encoding")
#: Of heads, as aiohttp reads them.
CODEC = ("utf-8", "surrogateescape")

#: Of a head, and of whatever else is no body: trailers, and what may follow the size of a chunk.
MAX_HEAD_BYTES = 64 * 1024

SWITCHING_PROTOCOLS = 101


class Malformed(Exception):
    """What the pod sent is no reply."""


class Reply:
    """One reply, as it comes.

    status, reason, headers: of its head. short: it tells its length, which is no more than was asked for.
    ready: its head is here and, if it is short, all of it. whole: all of it has come. last: its connection
    ends with it. waiting: bytes of its body that nobody has taken. silent: nothing has come.
    """

    __slots__ = (
        "_barren",
        "_begun",
        "_bodiless",
        "_parser",
        "_pieces",
        "_reason",
        "_short_bytes",
        "_unframed",
        "headers",
        "last",
        "ready",
        "reason",
        "short",
        "silent",
        "status",
        "waiting",
        "whole",
    )

    def __init__(self, *, bodiless: bool = False, short_bytes: int = 0) -> None:
        """bodiless: it answers HEAD. short_bytes: a short one has so many at most."""
        self.status, self.reason = 0, ""
        self.headers: CIMultiDict[str] = CIMultiDict()
        self.silent = True
        self.short = self.ready = self.whole = self.last = False
        self.waiting = 0
        self._bodiless, self._short_bytes = bodiless, short_bytes
        self._begun = self._unframed = False
        self._reason = b""
        self._pieces: list[bytes] = []
        self._barren = 0
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """data: what has come, of a reply that is not whole. Raises Malformed."""
        self.silent = False
        self._barren += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            if not self.whole:
                raise Malformed(str(error.__context__ or error)) from error
            self.last = True  # more came than the reply: nobody knows what that is
        if self.whole:
            # it knows the reply: a circle of each would be left to the collector
            del self._parser
        elif self._barren > MAX_HEAD_BYTES:
            raise Malformed(f"more than {MAX_HEAD_BYTES} bytes are no body")

    def feed_eof(self) -> None:
        """Nothing comes any more."""
        self.last = True
        self.whole = self.whole or self._unframed

    def take(self) -> bytes:
        """What waits."""
        pieces = self._pieces
        self._pieces, self.waiting = [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def on_message_begin(self) -> None:
        """Of httptools, as what follows."""
        if self.whole:
            raise Malformed("a reply that nobody asked for")

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._begun:
            self.headers.add(name.decode(), value.strip().decode(*CODEC))

    def on_headers_complete(self) -> None:
        if self._barren > MAX_HEAD_BYTES:
            self._check_size()
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._begin()
        elif 100 <= self.status != SWITCHING_PROTOCOLS:
            self.headers.clear()
            self._reason = b""
        else:
            raise Malformed(f"status {self.status}, which nobody asked for")

    def on_body(self, piece: bytes) -> None:
        if self.whole or not self._begun:
            raise Malformed("a body that no such reply has")
        self._barren = 0
        self.waiting += len(piece)
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if self._begun:
            self.ready = self.whole = True

    def _begin(self) -> None:
        """The head is here: how its body ends, and what may follow."""
        if self._reason and (min(self._reason) < 32 or 127 in self._reason):
            raise Malformed("a reason with control characters")
        self.reason = self._reason.decode(*CODEC)
        length = self.headers.get(CONTENT_LENGTH)
        codings = [each.lower() for each in self.headers.getall(TRANSFER_ENCODING, ())]
        if codings and codings != ["chunked"]:
            raise Malformed(f"Transfer-Encoding {', '.join(codings)}, which nobody asked for")
        self._begun = True
        self._unframed = length is None and not codings
        self.short = length is not None and int(length) <= self._short_bytes
        self.whole = self._bodiless
        self.ready = self.whole or not self.short
        # Where a chunk could begin, nobody is told of bytes that have come and are none yet.
        self.last = not self._parser.should_keep_alive() or (self._bodiless and bool(codings))

    def _check_size(self) -> None:
        """Of the head alone: what it came with may be a body."""
        size = sum(len(name) + len(value) for name, value in self.headers.items())
        if size + len(self._reason) > MAX_HEAD_BYTES:
            raise Malformed(f"a head of more than {MAX_HEAD_BYTES} bytes")
