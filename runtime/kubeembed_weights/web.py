"""https://host/path -> an archive, or the files of a SHA256SUMS beside it, from any web server.

The sha256 is the revision: of the archive, or of the list. A server may redirect, as artifact stores do, to
another place that speaks TLS; credentials stay with the host that the document names.
"""

import hashlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote

import httpx2

from kubeembed_api.reasons import Reason
from kubeembed_api.sourced import Sourced
from kubeembed_api.sources import LIST
from kubeembed_weights.answers import broken, content, retry_after
from kubeembed_weights.errors import BrokenOff, FetchError
from kubeembed_weights.remote import Listing, RemoteFile
from kubeembed_weights.retry import STALL_SECONDS, stall_seconds
from kubeembed_weights.selection import Choose
from kubeembed_weights.sums import SUMS_LIMIT, parse_sums

CONNECT_SECONDS = 10.0
SECRET = "set spec.model.credentialsSecret to a Secret with key token, or with keys username and password"


class Web:
    """One archive or one list of files. A kubeembed_weights.remote.Remote."""

    def __init__(self, told: Sourced, environ: Mapping[str, str]) -> None:
        self._source = told.parsed
        self._sha256 = told.sha256
        self._stall = stall_seconds(environ)
        self._auth = _auth(environ)
        self._trusted = httpx2.create_ssl_context()

    def pinned(self, revision: str | None) -> str | None:
        return self._sha256 or revision

    def listing(self, revision: str | None, choose: Choose) -> Listing:
        if self._source.packed:
            assert self._sha256 is not None, "an archive's document has it"
            name = self._source.path.rpartition("/")[2]
            return Listing(
                revision=self._sha256, files=(self._file(name, self._sha256),), packed=True
            )
        told = self._list()
        found = hashlib.sha256(told).hexdigest()
        wanted = self._sha256 or revision
        if wanted not in (None, found):
            raise FetchError(
                Reason.SOURCE_CHANGED,
                f"{self._source}: its sha256 is {found} and not {wanted}; write that into spec.model.sha256 "
                "to take these files, or change the annotation kubeembed.dev/resolve",
            )
        sums = parse_sums(told, str(self._source))
        files = (self._file(path, sums[path]) for path in choose(sums, str(self._source)))
        return Listing(revision=found, files=tuple(files))

    def read(self, revision: str, file: RemoteFile, start: int) -> Generator[bytes, None, None]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._asked("GET", file.path, headers) as response:
            yield from content(response, start, f"{self._source}: {file.path}")

    def _file(self, path: str, sha256: str) -> RemoteFile:
        """With its size, which no list of checksums tells."""
        with self._asked("HEAD", path) as response:
            told = response.headers.get("Content-Length", "")
        if not told.isdigit():
            raise FetchError(
                Reason.SOURCE_UNAVAILABLE,
                f"{self._source}: {path}: {response.url.host} does not say how large it is (Content-Length); "
                "serve it as a file",
            )
        return RemoteFile(path=path, size=int(told), algorithm="sha256", checksum=sha256)

    def _list(self) -> bytes:
        told = b""
        with self._asked("GET", LIST) as response:
            for chunk in content(response, 0, str(self._source)):
                told += chunk
                if len(told) > SUMS_LIMIT:
                    problem = f"more than {SUMS_LIMIT} bytes is no list of checksums"
                    raise FetchError(Reason.NO_USABLE_FILES, f"{self._source}: {problem}")
        return told

    @contextmanager
    def _asked(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx2.Response]:
        """A good response, its body unread. All that can go wrong becomes a FetchError, body included."""
        said, answered = f"{self._source}: {path}", False
        url = f"{str(self._source).rpartition('/')[0]}/{quote(path)}"
        try:
            with self._client() as client, client.stream(method, url, headers=headers) as response:
                if response.status_code >= 300:
                    raise self._refused(response, said)
                answered = True
                yield response
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise broken(
                error,
                said,
                self._source.host,
                answered=answered,
                check="spec.model.source, the proxy and the network policies of this namespace, and "
                "weights.caCertificates of the chart",
                stalled=f"{self._stall:g} s ({STALL_SECONDS})",
            ) from error

    def _client(self) -> httpx2.Client:
        """One for each request: they are few and long, and whoever breaks one off leaves nothing open."""
        return httpx2.Client(
            # identity: a compressed body can neither be resumed nor counted against the told size.
            headers={"User-Agent": "kubeembed-weights", "Accept-Encoding": "identity"},
            auth=self._auth,
            follow_redirects=True,
            timeout=httpx2.Timeout(self._stall, connect=CONNECT_SECONDS),
            event_hooks={"request": [self._with_tls]},
            verify=self._trusted,
        )

    def _with_tls(self, request: httpx2.Request) -> None:
        if request.url.scheme != "https":
            raise FetchError(
                Reason.SOURCE_UNAVAILABLE,
                f"{self._source}: redirects to {request.url.scheme}://{request.url.host}, where anybody "
                "could read along; serve it over https://",
            )

    def _refused(self, response: httpx2.Response, said: str) -> FetchError:
        status, host = response.status_code, response.url.host
        said = f"{said}: {host} answered {status}"
        wait = retry_after(response.headers)
        match status:
            case 401:
                return FetchError(Reason.SOURCE_UNAUTHORIZED, f"{said}: {self._who()}; {SECRET}")
            case 403:
                problem = f"{self._who()}, or may not read it; {SECRET}"
                return FetchError(Reason.SOURCE_FORBIDDEN, f"{said}: {problem}")
            case 404 | 410:
                return FetchError(
                    Reason.SOURCE_NOT_FOUND, f"{said}: no such file; check spec.model.source"
                )
            case 405 | 501:
                problem = "it has to answer HEAD, which tells a file's size"
                return FetchError(Reason.SOURCE_UNAVAILABLE, f"{said}: {problem}")
            case 416:
                return BrokenOff(
                    Reason.SOURCE_TRUNCATED, f"{said}: it is shorter than it was listed"
                )
            case 429:
                when = "" if wait is None else f"; asked to wait {wait:.0f} s"
                problem = f"too many requests{when}"
                return FetchError(Reason.SOURCE_RATE_LIMITED, f"{said}: {problem}", wait)
        return FetchError(Reason.SOURCE_UNAVAILABLE, f"{said}: it is tried again", wait)

    def _who(self) -> str:
        sent = self._auth is not None
        return "who asks is not accepted" if sent else "it needs credentials"


class _Bearer(httpx2.Auth):
    """Sent to the host of the first request alone: a redirect elsewhere goes without."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def _auth(environ: Mapping[str, str]) -> httpx2.Auth | None:
    if token := environ.get("WEIGHTS_TOKEN"):
        return _Bearer(token)
    if user := environ.get("WEIGHTS_USERNAME"):
        return httpx2.BasicAuth(user, environ.get("WEIGHTS_PASSWORD", ""))
    return None
