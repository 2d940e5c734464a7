"""A verified archive -> the files of the model that are in it, each written as it is read.

What an archive says is untrusted, even with the right checksum: a name that leaves the folder, a link or a
device refuses the whole of it, and so does a size that the volume has no room for, before it is unpacked.
"""

import hashlib
import logging
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from kubeembed_api.reasons import Reason
from kubeembed_weights.checksum import BLOCK, sha256_of
from kubeembed_weights.copies import Stored
from kubeembed_weights.disk import require_space
from kubeembed_weights.errors import FetchError
from kubeembed_weights.selection import Choose

logger = logging.getLogger(__name__)

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)

#: What macOS adds of its own.
FOREIGN = "__MACOSX/"


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive. `content` is read before the next member is asked for."""

    path: str
    size: int
    content: IO[bytes]


def unpack(archive: Path, folder: Path, choose: Choose, source: str) -> dict[str, Stored]:
    """The chosen files, in `folder`, synced. Raises FetchError NoUsableFiles or DiskFull, and OSError.

    A single folder at the top, as `tar czf model.tar.gz model/` makes one, is left out of the names.
    """
    try:
        sizes = _index(archive, folder, source)
        top = _top(sizes)
        chosen = set(choose([path.removeprefix(top) for path in sizes], source))
        stored: dict[str, Stored] = {}
        for member in _members(archive, source):
            path = member.path.removeprefix(top)
            if path in chosen:
                stored[path] = _write(member, folder / path)
                logger.info("unpacked %s (%d bytes)", path, member.size)
    except DAMAGED as error:
        raise _refusal(source, f"can not be unpacked: {error}") from error
    return stored


def _index(archive: Path, folder: Path, source: str) -> dict[str, int]:
    """Names and sizes, as far as the volume could hold it all."""
    sizes: dict[str, int] = {}
    for member in _members(archive, source):
        if member.path in sizes:
            raise _refusal(source, f"has {member.path} twice")
        sizes[member.path] = member.size
        require_space(folder, sum(sizes.values()))
    return sizes


def _top(paths: dict[str, int]) -> str:
    """'model/' where everything is in that one folder, else ''."""
    tops = {path.partition("/")[0] for path in paths if not path.startswith((".", FOREIGN))}
    (top, *others) = tops or {""}
    alone = not others and all("/" in path for path in paths if path.startswith(top))
    return f"{top}/" if top and alone else ""


def _write(member: Member, target: Path) -> Stored:
    """Under its own name once it is whole; a run before this one may have come so far."""
    if target.is_file() and target.stat().st_size == member.size:
        return Stored(size=member.size, sha256=sha256_of(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    part, digest = target.with_name(target.name + ".part"), hashlib.sha256()
    with part.open("wb") as writing:
        left = member.size
        while left and (block := member.content.read(min(BLOCK, left))):
            digest.update(block)
            writing.write(block)
            left -= len(block)
        if left:
            raise EOFError(f"{member.path} ends {left} bytes early")
        writing.flush()
        os.fsync(writing.fileno())
    part.rename(target)
    return Stored(size=member.size, sha256=digest.hexdigest())


def _members(archive: Path, source: str) -> Iterator[Member]:
    """The regular files in their order, under names that are safe to join to a folder."""
    members = _zipped if archive.suffix == ".zip" else _tarred
    for member in members(archive, source):
        parts = member.path.removeprefix("./").split("/")
        if any(part in ("", ".", "..") for part in parts) or "\\" in member.path:
            raise _refusal(source, f"names {member.path!r}, which leaves its folder")
        yield Member("/".join(parts), member.size, member.content)


def _tarred(archive: Path, source: str) -> Iterator[Member]:
    mode: Literal["r|", "r|gz"] = "r|" if archive.suffix == ".tar" else "r|gz"
    with archive.open("rb") as file, tarfile.open(fileobj=file, mode=mode) as tar:
        for info in tar:
            if info.isdir():
                continue
            if not info.isreg() or info.issparse():
                raise _special(source, info.name)
            content = tar.extractfile(info)
            assert content is not None, "a regular file has content"
            yield Member(info.name, info.size, content)


def _zipped(archive: Path, source: str) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise _special(source, info.filename)
            if info.flag_bits & 1:
                raise _refusal(source, f"has {info.filename} encrypted")
            with zipped.open(info) as content:
                yield Member(info.filename, info.file_size, content)


def _special(source: str, name: str) -> FetchError:
    problem = f"has {name}, which is a link or no plain file; pack the files themselves (tar --dereference)"
    return _refusal(source, problem)


def _refusal(source: str, problem: str) -> FetchError:
    return FetchError(Reason.NO_USABLE_FILES, f"{source} {problem}")
