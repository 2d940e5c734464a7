"""Folders -> what a model hub knows of them: commits, git ids, sha256 of the large files.

A folder is read once, when it is added: its commit is a hash of its content, so that the same folder
has the same commit at every start, and an old commit stays served after the branch has moved on.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What the hub's default .gitattributes keeps in LFS.
LARGE = (".safetensors", ".bin", ".onnx", ".h5", ".msgpack", ".ot", ".pt", ".model", ".gz", ".zip")
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a revision. `blob_id` is git's id: of the LFS pointer where the file is large."""

    path: str
    location: Path
    size: int
    blob_id: str
    sha256: str
    lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.blob_id

    def sibling(self, *, blobs: bool) -> dict[str, Any]:
        """As GET /api/models/... lists it."""
        if not blobs:
            return {"rfilename": self.path}
        told: dict[str, Any] = {"rfilename": self.path, "size": self.size, "blobId": self.blob_id}
        if self.lfs:
            pointer = len(_pointer(self.sha256, self.size))
            told["lfs"] = {"sha256": self.sha256, "size": self.size, "pointerSize": pointer}
        return told

    def entry(self) -> dict[str, Any]:
        """As GET /api/models/.../tree/... lists it."""
        told: dict[str, Any] = {
            "type": "file",
            "oid": self.blob_id,
            "size": self.size,
            "path": self.path,
        }
        if self.lfs:
            pointer = len(_pointer(self.sha256, self.size))
            told["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": pointer}
        return told


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A commit (40 hex digits) and its files by path."""

    commit: str
    files: dict[str, File]


class Repositories:
    """All that the hub serves: {repository: {branch, tag or commit: revision}}."""

    def __init__(self) -> None:
        self._revisions: dict[str, dict[str, Revision]] = {}

    def add(self, repository: str, folder: Path, revision: str = "main") -> str:
        """Makes `revision` of the repository what the folder holds now. Returns the commit."""
        return self.put(repository, revision_of(read_folder(folder)), revision)

    def put(self, repository: str, content: Revision, revision: str = "main") -> str:
        known = self._revisions.setdefault(repository, {})
        known[revision] = known[content.commit] = content
        return content.commit

    def __contains__(self, repository: str) -> bool:
        return repository in self._revisions

    def find(self, repository: str, revision: str) -> Revision | None:
        return self._revisions.get(repository, {}).get(revision)


def read_folder(folder: Path) -> list[File]:
    """All files below, git's own folder left out. Raises FileNotFoundError."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    inside = [(path.relative_to(folder), path) for path in paths]
    return [
        read_file(path, relative.as_posix())
        for relative, path in inside
        if ".git" not in relative.parts
    ]


def read_file(location: Path, path: str) -> File:
    """A file as it will be listed under `path`."""
    size = location.stat().st_size
    sha256, blob = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode())
    with location.open("rb") as content:
        while block := content.read(BLOCK):
            sha256.update(block)
            blob.update(block)
    lfs = path.endswith(LARGE)
    blob_id = _git_id(_pointer(sha256.hexdigest(), size)) if lfs else blob.hexdigest()
    return File(
        path=path,
        location=location,
        size=size,
        blob_id=blob_id,
        sha256=sha256.hexdigest(),
        lfs=lfs,
    )


def revision_of(files: Iterable[File]) -> Revision:
    """The commit is a hash over names and contents."""
    by_path = {file.path: file for file in files}
    told = "\n".join(f"{path} {file.blob_id}" for path, file in sorted(by_path.items()))
    return Revision(commit=hashlib.sha1(told.encode()).hexdigest(), files=by_path)


def _pointer(sha256: str, size: int) -> bytes:
    """What git itself stores of an LFS file. As in git-lfs' spec.md."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    )


def _git_id(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
