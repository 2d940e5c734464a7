"""What HTTP says, in our words: for the hub's protocol and for plain https:// alike."""

import re
from collections.abc import Generator, Mapping
from email.utils import parsedate_to_datetime
from time import time

import httpx2

from kubeembed_api.reasons import Reason
from kubeembed_weights.errors import BrokenOff, FetchError

RESET = re.compile(r";\s*t=(\d+)")  # RateLimit: "api";r=0;t=55


def content(response: httpx2.Response, start: int, said: str) -> Generator[bytes, None, None]:
    """The body from byte `start` of the file on, as it comes. Raises FetchError, BrokenOff."""
    skip = _unwanted(response, start, said)
    for chunk in response.iter_raw():
        if len(chunk) > skip:
            yield chunk[skip:]
        skip = max(0, skip - len(chunk))


def _unwanted(response: httpx2.Response, start: int, said: str) -> int:
    """How many bytes come before `start`: all of them from a server that knows no ranges."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise FetchError(
            Reason.SOURCE_UNAVAILABLE,
            f"{said} came compressed although that was not asked for; a proxy between here and "
            f"{response.url.host} changes what it forwards",
        )
    if response.status_code != 206:
        return start
    ranged = response.headers.get("Content-Range", "")
    if not ranged.startswith(f"bytes {start}-"):
        raise BrokenOff(
            Reason.SOURCE_TRUNCATED,
            f"{said} was asked for from byte {start}, answered {ranged!r}",
        )
    return 0


def broken(
    error: Exception, said: str, where: str, *, answered: bool, check: str, stalled: str
) -> FetchError:
    """A connection that could not be made or broke. `check`: where to look, `stalled`: after how long."""
    match error:
        case httpx2.ConnectTimeout() | httpx2.ConnectError():
            return FetchError(
                Reason.SOURCE_UNAVAILABLE,
                f"{said}: no connection to {where} ({error or 'timeout'}); check {check}",
            )
        case httpx2.TimeoutException():
            return BrokenOff(
                Reason.SOURCE_UNAVAILABLE, f"{said}: {where} sent nothing for {stalled}"
            )
        case httpx2.NetworkError() | httpx2.RemoteProtocolError() if answered:
            return BrokenOff(Reason.SOURCE_TRUNCATED, f"{said}: the body ended early ({error})")
        case httpx2.NetworkError() | httpx2.RemoteProtocolError():
            problem = f"{where} closed the connection without an answer ({error})"
            return BrokenOff(Reason.SOURCE_UNAVAILABLE, f"{said}: {problem}")
    return FetchError(Reason.SOURCE_UNAVAILABLE, f"{said}: {where}: {error}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from Retry-After (RFC 9110, both forms) or the hub's own RateLimit."""
    told = headers.get("Retry-After", "").strip()
    if told.isdigit():
        return float(told)
    if told:
        try:
            return max(0.0, parsedate_to_datetime(told).timestamp() - time())
        except ValueError:
            return None
    reset = RESET.search(headers.get("RateLimit", ""))
    return float(reset[1]) if reset else None
