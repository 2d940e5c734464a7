"""What stands before every contract: who may ask, which vectors they expect, and the request's id.

API keys are read again when their file changes, as a mounted Secret's does, so that a key is replaced without
a restart.
"""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubeembed_api.apikeys import digests, lacks
from kubeembed_api.names import API_KEYS
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import FingerprintDiffers, StartFailed, Unauthorized

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "x-request-id"
MAX_REQUEST_ID = 128
MATCH_HEADER = "if-fingerprint-match"

#: How old a key may be that was taken out of the file, and one that was put in.
REREAD_SECONDS = 5.0


class Keys:
    """The keys of a file, one per line; empty lines and those that begin with # are none."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises StartFailed for a file that is not there or has no key."""
        self._file, self._clock = file, clock
        try:
            self._digests = digests(file.read_text())
        except FileNotFoundError:
            problem = (
                f"API keys: {file} is not there: the Secret, or its key `{API_KEYS}`, does not exist;"
                " create it, with one API key per line"
            )
            raise StartFailed(Reason.SECRET_MISSING, problem) from None
        except (OSError, UnicodeDecodeError) as error:
            raise StartFailed(Reason.INVALID_SPEC, f"the API keys of {file}: {error}") from error
        if not self._digests:
            problem = f"{file} has no API key; write one per line, or leave --api-keys out"
            raise StartFailed(Reason.INVALID_SPEC, problem)
        self._read = clock()

    def check(self, authorization: str | None) -> None:
        """Raises Unauthorized. authorization: as latin-1, which HTTP servers read heads as."""
        sent = None if authorization is None else authorization.encode("latin-1", "replace")
        problem = lacks(sent, self._current())
        if problem is not None:
            raise Unauthorized(problem)

    def _current(self) -> tuple[bytes, ...]:
        """A file that has become empty or unreadable changes nothing: that is a mistake, or half a write."""
        now = self._clock()
        if now - self._read >= REREAD_SECONDS:
            self._read = now
            try:
                self._digests = digests(self._file.read_text()) or self._digests
            except (OSError, UnicodeDecodeError) as error:
                logger.warning("the API keys stay as they are: %s: %s", self._file, error)
        return self._digests


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What the public port asks of every request. keys: None lets everybody in. origins: of CORS."""

    keys: Keys | None = None
    origins: tuple[str, ...] = ()


OPEN = Edge()


def request_id(sent: str | None) -> str:
    """The client's own where it is printable and short, else a new one."""
    if sent and len(sent) <= MAX_REQUEST_ID and sent.isascii() and sent.isprintable():
        return sent
    return secrets.token_hex(16)


def check_fingerprint(wanted: str | None, served: str | None) -> None:
    """Raises FingerprintDiffers. `wanted`: a fingerprint, or several with commas; None or * is content."""
    if wanted is None or served is None or wanted.strip() == "*":
        return
    if served not in [one.strip().strip('"') for one in wanted.split(",")]:
        raise FingerprintDiffers(wanted[:MAX_REQUEST_ID], served)
