"""What a source of weights has to be able to do: the seam at which further protocols are added.

A source lists its files at one revision, with a checksum of each, and sends one file from an offset on.
Everything else (selection, resume, verification, the cache) is the same for all of them.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from kubeembed_api.reasons import Reason
from kubeembed_api.sources import Source
from kubeembed_weights.errors import FetchError

#: `git` is git's blob id: sha1 over "blob <size>\0" and the content.
Algorithm = Literal["sha256", "git"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file as the source lists it. `path` is untrusted until selection has passed it."""

    path: str
    size: int
    algorithm: Algorithm
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files of one revision, which never changes: a commit, or '' where the source has none."""

    revision: str
    files: tuple[RemoteFile, ...]


class Remote(Protocol):
    """All methods but `pinned` raise FetchError, or BrokenOff where asking again at once may help."""

    def pinned(self, revision: str | None) -> str | None:
        """The revision itself if it can never mean anything else, else None. Asks nobody."""

    def listing(self, revision: str | None) -> Listing: ...

    def read(self, revision: str, file: RemoteFile, start: int) -> Generator[bytes, None, None]:
        """The content from byte `start` on, in small chunks, as the source sends it: unverified."""


def open_remote(source: Source, environ: Mapping[str, str]) -> Remote:
    """The client for the scheme, configured from the environment once. Raises FetchError."""
    if source.scheme == "hf":
        from kubeembed_weights.hub import (
            Hub,
            HubSettings,
        )  # costs 0.3 s, which `open_copy` must not

        return Hub(source, HubSettings.from_env(environ))
    if source.scheme == "pvc":
        raise FetchError(
            Reason.NOT_SUPPORTED_YET,
            f"{source} is a claim of a cluster and is not fetched; outside of one write file:///path",
        )
    raise FetchError(
        Reason.NOT_SUPPORTED_YET, f"{source.scheme}:// is not supported yet; write hf://org/name"
    )
