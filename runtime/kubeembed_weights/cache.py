"""The cache's layout on disk, and its one commit point.

<root>/<key>/           a complete copy: the model's files and .kubeembed.json, the manifest
<root>/.partial/<key>/  a copy being fetched; renamed to the above once every file is verified and synced
<root>/.locks/<key>     held while a copy is fetched. Never deleted: whoever waits for it holds it open
"""

import errno
import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from kubeembed_api.reasons import Reason
from kubeembed_weights.errors import FetchError
from kubeembed_weights.selection import select

logger = logging.getLogger(__name__)

MANIFEST = ".kubeembed.json"
KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Weights that are here, complete. `bytes` is their size, `fetched_bytes` what of it came just now."""

    path: Path
    key: str
    revision: str | None
    bytes: int
    fetched_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file of a copy, as the manifest names it."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a copy holds and where it is from."""

    source: str
    revision: str
    files: Mapping[str, Stored]

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files.values())


def local_cache() -> Path:
    """The cache of a laptop, where no other is named: $XDG_CACHE_HOME/kubeembed/weights."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "kubeembed", "weights")


def open_copy(root: Path, key: str) -> Path:
    """The folder of a complete copy; touches no network. Raises FetchError WeightsMissing.

    A folder without a manifest is a claim of the user's, mounted in the copy's place (pvc://): nothing
    incomplete of ours is ever found under a key.
    """
    folder = root / key
    try:
        if not KEY.fullmatch(key) or not folder.is_dir():
            raise _missing(folder, "there is none")
        if not (folder / MANIFEST).exists():
            select([path.name for path in folder.iterdir() if path.is_file()], str(folder))
        elif (problem := _problem(folder)) is not None:
            raise _missing(folder, problem)
    except OSError as error:
        raise _missing(folder, str(error)) from error
    return folder


class Cache:
    """The fetching side. Methods raise OSError as it comes; kubeembed_weights.disk says what it means."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, key: str) -> Copy | None:
        """The complete copy, if there is one."""
        folder = self.root / key
        if not (folder / MANIFEST).exists() or _problem(folder) is not None:
            return None
        manifest = _read_manifest(folder)
        return Copy(path=folder, key=key, revision=manifest.revision or None, bytes=manifest.bytes)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """One at a time per key among all that mount the volume; freed with the process however it ends."""
        path = _made(self.root / ".locks") / key
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("another fetch of %s is running; waiting for it", key)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def partial(self, key: str) -> Path:
        """The folder that a copy is put together in; what an earlier run left there is still there."""
        return _made(_made(self.root / ".partial") / key)

    def commit(self, key: str, manifest: Manifest) -> Copy:
        """Makes the partial folder, whose files are verified and synced, the copy."""
        partial, folder = self.partial(key), self.root / key
        _write_manifest(partial, manifest)
        _readable(partial)
        if folder.exists():
            logger.warning("%s is damaged; replacing it", folder)
            shutil.rmtree(folder)
        partial.rename(folder)
        sync(self.root)
        return Copy(path=folder, key=key, revision=manifest.revision or None, bytes=manifest.bytes)


def sync(path: Path) -> None:
    """A file's content or a folder's entries are on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # SMB and some FUSE file systems can not sync a folder: then there is nothing to wait for.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n")
    sync(path)


def _read_manifest(folder: Path) -> Manifest:
    told = json.loads((folder / MANIFEST).read_text())
    files = {path: Stored(**stored) for path, stored in told["files"].items()}
    return Manifest(source=told["source"], revision=told["revision"], files=files)


def _problem(folder: Path) -> str | None:
    """What is wrong with a copy, by its manifest and the sizes of its files; None if nothing is."""
    try:
        manifest = _read_manifest(folder)
        for path, stored in manifest.files.items():
            if (found := (folder / path).stat().st_size) != stored.size:
                return f"{path} has {found} bytes instead of {stored.size}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its manifest does not hold: {error}"
    return None


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


def _missing(folder: Path, problem: str) -> FetchError:
    return FetchError(
        Reason.WEIGHTS_MISSING,
        f"no copy of the weights at {folder}: {problem}. It is fetched by `kubeembed-weights fetch`",
    )
