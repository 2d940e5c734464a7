"""hf://org/name -> listing and content, over the model hub's HTTP protocol.

One GET lists a revision with sizes and checksums, one GET per file sends it. huggingface_hub lends its HTTP
session (proxies, offline mode) and the saved token; its download functions bring a cache layout of their own,
retry on their own terms and verify no checksums, so they are not used.
"""

import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import httpx2
from huggingface_hub import get_session, get_token
from huggingface_hub.errors import OfflineModeIsEnabled

from kubeembed_api.reasons import Reason
from kubeembed_api.sources import Source
from kubeembed_weights.answers import broken, content, retry_after
from kubeembed_weights.errors import BrokenOff, FetchError
from kubeembed_weights.remote import Listing, RemoteFile
from kubeembed_weights.selection import Choose

PUBLIC = "https://huggingface.co"
COMMIT = re.compile(r"[0-9a-f]{40}")
CONNECT_SECONDS = 10.0

#: How an application sets the token, on either side.
TOKEN_HINT = (
    "set spec.model.credentialsSecret to a Secret whose key `token` may read it "
    "(outside a cluster: HF_TOKEN)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """The hub's own environment variables, as all its clients read them."""

    endpoint: str = PUBLIC
    token: str | None = None
    stall_seconds: float = 30.0

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """HF_ENDPOINT, HF_TOKEN or the token that `hf auth login` saved, HF_HUB_DOWNLOAD_TIMEOUT."""
        implicit = not environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")
        saved = get_token() if implicit else None
        return cls(
            endpoint=(environ.get("HF_ENDPOINT") or PUBLIC).rstrip("/"),
            token=environ.get("HF_TOKEN") or saved,
            stall_seconds=float(environ.get("HF_HUB_DOWNLOAD_TIMEOUT") or 30),
        )


class Hub:
    """One repository of a hub. A kubeembed_weights.remote.Remote."""

    def __init__(self, source: Source, settings: HubSettings) -> None:
        self._source = source
        self._settings = settings
        # identity: a compressed body can neither be resumed nor counted against the listed size.
        self._headers = {"User-Agent": "kubeembed-weights", "Accept-Encoding": "identity"}
        if settings.token:
            self._headers["Authorization"] = f"Bearer {settings.token}"

    def pinned(self, revision: str | None) -> str | None:
        return revision if revision and COMMIT.fullmatch(revision) else None

    def listing(self, revision: str | None, choose: Choose) -> Listing:
        wanted = revision or "main"
        place = f"/api/models/{self._source.host}/revision/{quote(wanted, safe='')}?blobs=true"
        with self._asked(place, {}, f"revision {wanted!r}") as response:
            response.read()
        try:
            told = response.json()
            files = {file.path: file for file in map(_remote_file, told["siblings"])}
            commit = str(told["sha"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._no_hub(f"{error!r}") from error
        if not COMMIT.fullmatch(commit):
            raise self._no_hub(f"{commit!r} is no commit")
        chosen = choose(files, f"{self._source} at {commit}")
        return Listing(revision=commit, files=tuple(files[path] for path in chosen))

    def read(self, revision: str, file: RemoteFile, start: int) -> Generator[bytes, None, None]:
        place = f"/{self._source.host}/resolve/{revision}/{quote(file.path)}"
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._asked(place, headers, file.path) as response:
            yield from content(response, start, f"{self._source}: {file.path}")

    @contextmanager
    def _asked(self, place: str, headers: dict[str, str], what: str) -> Iterator[httpx2.Response]:
        """A good response, its body unread. All that can go wrong becomes a FetchError, body included.

        The session leaves the token out when it is redirected to another origin, as to a CDN.
        """
        answered = False
        try:
            with get_session().stream(
                "GET",
                self._settings.endpoint + place,
                headers=self._headers | headers,
                timeout=httpx2.Timeout(self._settings.stall_seconds, connect=CONNECT_SECONDS),
            ) as response:
                if response.status_code >= 300:
                    raise self._refused(response, what)
                answered = True
                yield response
        except (httpx2.HTTPError, httpx2.InvalidURL, OfflineModeIsEnabled) as error:
            raise self._broken(error, what, answered=answered) from error

    def _broken(self, error: Exception, what: str, *, answered: bool) -> FetchError:
        said = f"{self._source}: {what}"
        if isinstance(error, OfflineModeIsEnabled):
            problem = "HF_HUB_OFFLINE is set, so nothing can be fetched; unset it"
            return FetchError(Reason.SOURCE_UNAVAILABLE, f"{said}: {problem}")
        return broken(
            error,
            said,
            self._settings.endpoint,
            answered=answered,
            check="HF_ENDPOINT, the proxy and the network policies of this namespace",
            stalled=f"{self._settings.stall_seconds:g} s (HF_HUB_DOWNLOAD_TIMEOUT)",
        )

    def _refused(self, response: httpx2.Response, what: str) -> FetchError:
        """The hub's answer in our words. It tells strangers 401 for what does not exist, too."""
        status = response.status_code
        code = response.headers.get("X-Error-Code", "")
        told = response.headers.get("X-Error-Message", "")[:200]
        host = response.url.host
        said = f"{self._source}: {what}: {host} answered {status}" + (f" ({told})" if told else "")
        sent = self._settings.token is not None
        page = f"{self._settings.endpoint}/{self._source.host}"
        match status:
            case 401 if sent:
                problem = f"the token is not accepted; {TOKEN_HINT}"
                return FetchError(Reason.SOURCE_UNAUTHORIZED, f"{said}: {problem}")
            case 401:
                problem = f"there is no such repository, or it needs a token: {TOKEN_HINT}"
                return FetchError(Reason.SOURCE_UNAUTHORIZED, f"{said}: {problem}")
            case 403 if code == "GatedRepo":
                problem = (
                    f"the repository is gated; ask for access at {page} with the token's account"
                )
                return FetchError(Reason.SOURCE_FORBIDDEN, f"{said}: {problem}")
            case 403:
                problem = f"the token may not read it; {TOKEN_HINT}"
                return FetchError(Reason.SOURCE_FORBIDDEN, f"{said}: {problem}")
            case 416:
                return BrokenOff(
                    Reason.SOURCE_TRUNCATED, f"{said}: it is shorter than it was listed"
                )
            case 400 | 404 | 410:
                return FetchError(Reason.SOURCE_NOT_FOUND, f"{said}: {_missing(code, page)}")
            case 429:
                wait = retry_after(response.headers)
                when = "" if wait is None else f"; asked to wait {wait:.0f} s"
                problem = f"too many requests{when}. A token raises the limit: {TOKEN_HINT}"
                return FetchError(Reason.SOURCE_RATE_LIMITED, f"{said}: {problem}", wait)
        return FetchError(
            Reason.SOURCE_UNAVAILABLE,
            f"{said}: it is tried again; if it lasts, check HF_ENDPOINT and the hub's status page",
            retry_after(response.headers),
        )

    def _no_hub(self, problem: str) -> FetchError:
        return FetchError(
            Reason.SOURCE_UNAVAILABLE,
            f"{self._source}: {self._settings.endpoint} answered with something that is no listing "
            f"({problem}); check HF_ENDPOINT",
        )


def _missing(code: str, page: str) -> str:
    if code == "RevisionNotFound":
        return f"no such revision; write a branch, tag or commit of {page} in spec.model.revision"
    return f"no such repository; check spec.model.source against {page}"


def _remote_file(sibling: Mapping[str, Any]) -> RemoteFile:
    """As /api/models/...?blobs=true lists it: git's blob id, and sha256 for what is kept in LFS."""
    lfs = sibling.get("lfs")
    return RemoteFile(
        path=str(sibling["rfilename"]),
        size=int(sibling["size"]),
        algorithm="sha256" if lfs else "git",
        checksum=str(lfs["sha256"] if lfs else sibling["blobId"]),
    )
