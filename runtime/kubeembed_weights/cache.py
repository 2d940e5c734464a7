"""The cache's layout on disk, its one commit point, and the one point at which a copy is gone.

<root>/<key>/           a complete copy: the model's files and .kubeembed.json, the manifest
<root>/.partial/<key>/  a copy being fetched; renamed to the above once every file is verified and synced
<root>/.removed/        what is being deleted: renamed to here under the lock, so that no half of it is found
<root>/.locks/<key>     held while a copy is fetched or removed. Never deleted: whoever waits holds it open
<root>/.unused/<key>    see kubeembed_weights.uses
"""

import errno
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubeembed_weights.copies import (
    KEY,
    MANIFEST,
    Copy,
    Manifest,
    problem_of,
    read_manifest,
    sync,
    write_manifest,
)
from kubeembed_weights.uses import Uses

logger = logging.getLogger(__name__)

#: Of a volume that is mounted read-only, or belongs to somebody else.
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


class Cache:
    """The fetching side. Methods raise OSError as it comes; kubeembed_weights.disk says what it means."""

    def __init__(self, root: Path, capacity: int | None = None) -> None:
        """`capacity`: bytes that the cache is meant to have, where its disk has more; None: all of it."""
        self.root = root
        self.capacity = capacity
        self.uses = Uses(root)

    def find(self, key: str) -> Copy | None:
        """The complete copy, if there is one."""
        folder = self.root / key
        if not (folder / MANIFEST).exists() or problem_of(folder) is not None:
            return None
        manifest = read_manifest(folder)
        return Copy(path=folder, key=key, revision=manifest.revision or None, bytes=manifest.bytes)

    def manifest(self, key: str) -> Manifest | None:
        """Of a complete copy; None where there is none that can be read."""
        try:
            return read_manifest(self.root / key)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def revived(self, key: str) -> Copy | None:
        """The complete copy, if there is one, from now on in use: nobody removes it as unused."""
        found = self.find(key)
        if found is None:
            return None
        try:
            with self.lock(key):
                return self.find(key)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            return found  # where we may not write, nobody removes

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """For who asks for the key, which is in use from then on.

        One at a time per key among all that mount the volume; freed with the process however it ends.
        """
        with self._opened(key) as lock:
            if not _taken(lock):
                logger.info("another fetch of %s is running; waiting for it", key)
                fcntl.flock(lock, fcntl.LOCK_EX)
            self.uses.touch(key)
            yield

    @contextmanager
    def try_lock(self, key: str) -> Iterator[bool]:
        """For who would remove the key: whether the lock was taken, because nobody has it."""
        with self._opened(key) as lock:
            yield _taken(lock)

    def entries(self) -> list[str]:
        """The keys of complete and of partial copies, each once."""
        folders = (self.root, self.root / ".partial")
        found = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
        return sorted(key for key in found if KEY.fullmatch(key))

    def bytes_of(self, key: str) -> int:
        """What removing it would free, by the sizes of its files."""
        return sum(
            _size(Path(inside, name))
            for folder in self._folders(key)
            for inside, _, names in os.walk(folder)
            for name in names
        )

    def remove(self, key: str) -> None:
        """Under its lock. What has the files open keeps them; what looks for the copy finds none."""
        for folder in self._folders(key):
            if folder.exists():
                folder.rename(_made(self.root / ".removed") / f"{key}.{time.time_ns()}")
        self.uses.unmark(key)
        self.bury()

    def bury(self) -> None:
        """Deletes what was removed, now or by a process that was killed at it."""
        removed = self.root / ".removed"
        for tomb in removed.iterdir() if removed.is_dir() else ():
            shutil.rmtree(tomb, ignore_errors=True)  # two may be at it
            if tomb.exists():
                logger.warning("%s cannot be deleted yet", tomb)

    def _folders(self, key: str) -> tuple[Path, Path]:
        return self.root / key, self.root / ".partial" / key

    @contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        path = _made(self.root / ".locks") / key
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            yield lock
        finally:
            os.close(lock)

    def partial(self, key: str) -> Path:
        """The folder that a copy is put together in; what an earlier run left there is still there."""
        return _made(_made(self.root / ".partial") / key)

    def commit(self, key: str, manifest: Manifest) -> Copy:
        """Makes the partial folder, whose files are verified and synced, the copy."""
        partial, folder = self.partial(key), self.root / key
        write_manifest(partial, manifest)
        _readable(partial)
        if folder.exists():
            logger.warning("%s is damaged; replacing it", folder)
            shutil.rmtree(folder)
        partial.rename(folder)
        sync(self.root)
        return Copy(path=folder, key=key, revision=manifest.revision or None, bytes=manifest.bytes)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _size(path: Path) -> int:
    """0 for a file that went meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _readable(folder: Path) -> None:
    """For every user: the serving pods may run as another one. Then the folders' entries are synced."""
    for inside, _, names in os.walk(folder):
        _set_mode(Path(inside), 0o755)
        for name in names:
            _set_mode(Path(inside, name), 0o644)
        sync(Path(inside))


def _set_mode(path: Path, mode: int) -> None:
    """Best effort: on SMB and the like the mount's options say who may read, and chmod is refused."""
    if path.stat().st_mode & 0o777 == mode:
        return
    try:
        path.chmod(mode)
    except OSError as error:
        logger.warning("%s keeps its mode: %s", path, error)
