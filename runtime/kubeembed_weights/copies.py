"""A complete copy on the disk: its folder, and the manifest that says what is in it."""

import errno
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from kubeembed_api.reasons import Reason
from kubeembed_weights.errors import FetchError
from kubeembed_weights.selection import select

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
        elif (problem := problem_of(folder)) is not None:
            raise _missing(folder, problem)
    except OSError as error:
        raise _missing(folder, str(error)) from error
    return folder


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


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Synced when this returns."""
    path = folder / MANIFEST
    path.write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n")
    sync(path)


def read_manifest(folder: Path) -> Manifest:
    """Raises OSError, ValueError, KeyError or TypeError where there is none that can be read."""
    told = json.loads((folder / MANIFEST).read_text())
    files = {path: Stored(**stored) for path, stored in told["files"].items()}
    return Manifest(source=told["source"], revision=told["revision"], files=files)


def problem_of(folder: Path) -> str | None:
    """What is wrong with a copy, by its manifest and the sizes of its files; None if nothing is."""
    try:
        manifest = read_manifest(folder)
        for path, stored in manifest.files.items():
            if (found := (folder / path).stat().st_size) != stored.size:
                return f"{path} has {found} bytes instead of {stored.size}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its manifest does not hold: {error}"
    return None


def _missing(folder: Path, problem: str) -> FetchError:
    return FetchError(
        Reason.WEIGHTS_MISSING,
        f"no copy of the weights at {folder}: {problem}. It is fetched by `kubeembed-weights fetch`",
    )
