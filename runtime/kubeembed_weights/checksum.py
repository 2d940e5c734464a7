"""Content, as it streams by -> its checksums.

sha256 is always taken, since the manifest names it; beside it what the source lists, if that is another.
"""

import hashlib
from pathlib import Path

from kubeembed_weights.remote import RemoteFile

BLOCK = 1 << 20


class Checksum:
    """Of one file, fed in order."""

    def __init__(self, file: RemoteFile) -> None:
        self._sha256 = hashlib.sha256()
        self._other = None
        if file.algorithm == "git":
            self._other = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
        elif file.algorithm == "md5":
            self._other = hashlib.md5(usedforsecurity=False)
        self._nothing = file.algorithm == "none"

    def update(self, chunk: bytes) -> None:
        self._sha256.update(chunk)
        if self._other is not None:
            self._other.update(chunk)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def listed(self) -> str:
        """The one that the source lists; '' where it lists none, as in RemoteFile."""
        if self._nothing:
            return ""
        return self.sha256 if self._other is None else self._other.hexdigest()


def sha256_of(path: Path) -> str:
    """Of a whole file, read in blocks. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
