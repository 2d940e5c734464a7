"""What a source of weights has to be able to do: the seam at which further protocols are added.

A source lists its files at one revision, with a checksum of each, and sends one file from an offset on.
Everything else (selection, resume, verification, the cache) is the same for all of them.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from kubeembed_api.reasons import Reason
from kubeembed_api.sourced import Sourced
from kubeembed_weights.errors import FetchError
from kubeembed_weights.selection import Choose

#: `git` is git's blob id: sha1 over "blob <size>\0" and the content. `none`: the source lists no checksum.
Algorithm = Literal["sha256", "git", "md5", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file as the source lists it. `etag`: its name for this content, where the path may get another."""

    path: str
    size: int
    algorithm: Algorithm
    checksum: str
    etag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The wanted files of one revision, which never changes. `packed`: one archive, which has them inside."""

    revision: str
    files: tuple[RemoteFile, ...]
    packed: bool = False


class Remote(Protocol):
    """All methods but `pinned` raise FetchError, or BrokenOff where asking again at once may help."""

    def pinned(self, revision: str | None) -> str | None:
        """The revision itself if it can never mean anything else, else None. Asks nobody."""

    def listing(self, revision: str | None, choose: Choose) -> Listing:
        """`choose` has passed every path of it: a name is safe to write. What it raises comes through."""

    def read(self, revision: str, file: RemoteFile, start: int) -> Generator[bytes, None, None]:
        """The content from byte `start` on, in small chunks, as the source sends it: unverified."""


def open_remote(told: Sourced, environ: Mapping[str, str]) -> Remote:
    """The client for the source, configured from the environment once. Raises FetchError, InvalidSpec.

    The rooms are imported where they are used: an HTTP library costs 0.3 s, which `open_copy` must not.
    """
    source = told.parsed
    match source.scheme:
        case "hf":
            from kubeembed_weights.hub import Hub, HubSettings

            return Hub(source, HubSettings.from_env(environ))
        case "s3" | "gs" | "az":
            try:
                from kubeembed_weights.stores import Store
            except ImportError as error:  # a laptop with the runtime alone
                problem = f"needs obstore ({error}); pip install 'kubeembed[weights]'"
                raise FetchError(Reason.NOT_SUPPORTED_YET, f"{source} {problem}") from error
            return Store(told, environ)
        case "https":
            from kubeembed_weights.web import Web

            return Web(told, environ)
        case "pvc" | "oci":
            problem = (
                "is mounted by a cluster and is not fetched; outside of one write file:///path"
            )
            raise FetchError(Reason.NOT_SUPPORTED_YET, f"{source} {problem}")
    raise FetchError(Reason.NOT_SUPPORTED_YET, f"{source} is used where it lies, and not fetched")
