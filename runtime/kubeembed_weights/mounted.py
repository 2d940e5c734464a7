"""A claim that Kubernetes has mounted (pvc://) -> its files, copied into the cache as others are fetched.

A claim has no commits, so the revision is a hash of what the wanted files hold when they are listed.
"""

import errno
import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from kubeembed_api.reasons import Reason
from kubeembed_api.sources import Source
from kubeembed_weights.checksum import BLOCK, sha256_of
from kubeembed_weights.errors import FetchError
from kubeembed_weights.remote import Listing, RemoteFile
from kubeembed_weights.selection import Choose

#: What an error of the volume means to who wrote the document. The rest may pass.
REASONS = {
    errno.ENOENT: Reason.SOURCE_NOT_FOUND,
    errno.ENOTDIR: Reason.SOURCE_NOT_FOUND,
    errno.EACCES: Reason.SOURCE_FORBIDDEN,
    errno.EPERM: Reason.SOURCE_FORBIDDEN,
}


class Mounted:
    """As kubeembed_weights.remote.Remote. folder: where the source's path is in this container."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._source, self._folder = source, folder

    def pinned(self, revision: str | None) -> str | None:
        return None

    def listing(self, revision: str | None, choose: Choose) -> Listing:
        """The files at the top of the folder."""
        with self._told():
            names = sorted(path.name for path in self._folder.iterdir() if path.is_file())
        chosen = choose(names, str(self._source))
        with self._told():
            files = tuple(self._file(name) for name in chosen)
        told = "\n".join(f"{file.path} {file.checksum}" for file in files)
        return Listing(revision=hashlib.sha256(told.encode()).hexdigest()[:40], files=files)

    def read(self, revision: str, file: RemoteFile, start: int) -> Generator[bytes, None, None]:
        with self._told(), (self._folder / file.path).open("rb") as content:
            content.seek(start)
            while block := content.read(BLOCK):
                yield block

    def _file(self, name: str) -> RemoteFile:
        path = self._folder / name
        checksum = sha256_of(path)
        return RemoteFile(
            path=name, size=path.stat().st_size, algorithm="sha256", checksum=checksum
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """An error of the claim, which would else be taken for one of the cache."""
        try:
            yield
        except OSError as error:
            reason = REASONS.get(error.errno or 0, Reason.SOURCE_UNAVAILABLE)
            what = f"{self._source}: {error.strerror or error}"
            raise FetchError(reason, f"{what}; it is read as user 10001 of group 10001") from error
