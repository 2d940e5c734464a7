"""API keys: the lines of a file -> digests -> whether what a request sent is one of them.

They are compared by their digests, and all of them, so that time tells nothing of them.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

#: Of every refusal.
WAY_OUT: Final = "send Authorization: Bearer KEY"


def digests(text: str) -> tuple[bytes, ...]:
    """Of the keys, one per line; empty lines and those that begin with # are none."""
    lines = [line.strip() for line in text.splitlines()]
    return tuple(_digest(line.encode()) for line in lines if line and not line.startswith("#"))


def lacks(authorization: bytes | None, known: Iterable[bytes]) -> str | None:
    """What is amiss with that header of a request, with the way out; None: its key is known."""
    problem = _problem(authorization, known)
    return None if problem is None else f"{problem}; {WAY_OUT}"


def _problem(authorization: bytes | None, known: Iterable[bytes]) -> str | None:
    if authorization is None:
        return "an API key is needed"
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return f"the scheme of Authorization is {scheme[:32].decode('latin-1')!r}"
    sent = _digest(key.strip())
    found = False
    for digest in known:
        found |= hmac.compare_digest(sent, digest)
    return None if found else "the API key is not known"


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
