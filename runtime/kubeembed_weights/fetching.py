"""A model's document -> its weights, complete and verified, in the cache. The story of one fetch.

What is in the cache already costs no byte, and no request either where the revision is a commit: that is
how a model is created again without a network.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.keys import weights_key
from kubeembed_api.reasons import Reason
from kubeembed_api.sources import Source
from kubeembed_weights.cache import Cache
from kubeembed_weights.checksum import sha256_of
from kubeembed_weights.copies import Copy, Manifest, Stored
from kubeembed_weights.disk import make_room, writing
from kubeembed_weights.download import download, present
from kubeembed_weights.errors import FetchError
from kubeembed_weights.progress import Meter, size
from kubeembed_weights.remote import Listing, Remote, RemoteFile, open_remote
from kubeembed_weights.retry import patiently
from kubeembed_weights.selection import Choose, select
from kubeembed_weights.unpack import unpack

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be in the cache: decided by one listing."""

    source: Source
    key: str
    listing: Listing
    choose: Choose

    @property
    def revision(self) -> str:
        return self.listing.revision

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        return self.listing.files

    @property
    def bytes(self) -> int:
        """Of what is fetched: of the archive, where it is one."""
        return sum(file.size for file in self.files)


def fetch(
    model: EmbeddingModel,
    root: Path,
    *,
    progress: Meter | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Copy:
    """The copy of the model's weights under `root`, fetched if it is not there. Raises FetchError.

    file:// is opened in place. Two at once with one key: one fetches, the other waits for its copy.
    """
    source, meter = model.spec.model.parsed, progress or Meter()
    if source.scheme == "file":
        return _opened(source)
    remote = open_remote(model.spec.model, environ)
    cache = Cache(root, model.resolved.capacity)
    revision = _revision(model)
    with writing(root, meter):
        pinned = remote.pinned(revision)
        if pinned is not None and (copy := cache.revived(_key(model, source, pinned))):
            return copy
        wanted = _wanted(model, source, remote, revision)
        meter.expect(wanted.bytes)
        return cache.revived(wanted.key) or filled(cache, remote, wanted, meter)


def resolve(model: EmbeddingModel, *, environ: Mapping[str, str] = os.environ) -> Wanted:
    """What `fetch` would put into the cache, from one request and without a cache. Raises FetchError."""
    source = model.spec.model.parsed
    return _wanted(model, source, open_remote(model.spec.model, environ), _revision(model))


def check(model: EmbeddingModel, folder: Path) -> Copy:
    """Weights that somebody else put into a folder (pvc://): are they all there. Raises FetchError.

    Nothing is hashed: there is nothing to compare with, and the claim may be large and slow.
    """
    source = model.spec.model.parsed
    chosen = select(_inside(folder), str(source))
    total = sum((folder / path).stat().st_size for path in chosen)
    return Copy(path=folder, key=_key(model, source, ""), revision=None, bytes=total)


def _revision(model: EmbeddingModel) -> str | None:
    """The commit that the document was resolved to, else what its author asks for."""
    resolved = model.resolved
    return resolved.revision if resolved.key else model.spec.model.revision


def _wanted(model: EmbeddingModel, source: Source, remote: Remote, revision: str | None) -> Wanted:
    listing = patiently(lambda: remote.listing(revision, select))
    key = _key(model, source, listing.revision)
    return Wanted(source=source, key=key, listing=listing, choose=select)


def _key(model: EmbeddingModel, source: Source, revision: str) -> str:
    """Raises InvalidSpec if the document says another: its pods would look where nothing is."""
    key = weights_key(source, revision)
    if model.resolved.key not in (None, key):
        raise InvalidSpec(
            "status.weights.key",
            f"{model.resolved.key} is not the key of {source} at {revision}, which is {key}; leave it out",
        )
    return key


def filled(cache: Cache, remote: Remote, wanted: Wanted, meter: Meter) -> Copy:
    """The copy, put together from what is wanted unless somebody else did. Raises FetchError, OSError."""
    with cache.lock(wanted.key):
        if copy := cache.find(wanted.key):
            return copy
        partial = cache.partial(wanted.key)
        here = present(wanted.files, partial)
        make_room(cache, wanted.bytes - here)
        logger.info(
            "fetching %s at %s: %s, of which %s are here",
            wanted.source,
            wanted.revision,
            size(wanted.bytes),
            size(here),
        )
        stored = _downloaded(remote, wanted, partial, meter)
        if wanted.listing.packed:
            stored = _unpacked(partial, wanted)
        manifest = Manifest(source=str(wanted.source), revision=wanted.revision, files=stored)
        copy = cache.commit(wanted.key, manifest)
    return Copy(
        path=copy.path,
        key=copy.key,
        revision=copy.revision,
        bytes=copy.bytes,
        fetched_bytes=meter.fetched,
    )


def _downloaded(remote: Remote, wanted: Wanted, folder: Path, meter: Meter) -> dict[str, Stored]:
    """Parts are kept for the next run, but not of files that are no more: it will want others."""
    try:
        return download(remote, wanted.revision, wanted.files, folder, meter)
    except FetchError as error:
        if error.reason is Reason.SOURCE_CHANGED:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _unpacked(folder: Path, wanted: Wanted) -> dict[str, Stored]:
    """The archive's files in its place. Killed on the way, the next run finds it and goes on."""
    [archive] = wanted.files
    stored = unpack(folder / archive.path, folder, wanted.choose, str(wanted.source))
    (folder / archive.path).unlink()
    return stored


def _opened(source: Source) -> Copy:
    """A folder on this machine, served where it is. Its key is a hash of what it holds."""
    folder = Path("/", source.path)
    chosen = select(_inside(folder), str(source))
    hashes = [f"{path} {sha256_of(folder / path)}" for path in chosen]
    total = sum((folder / path).stat().st_size for path in chosen)
    key = hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:32]
    return Copy(path=folder, key=key, revision=None, bytes=total)


def _inside(folder: Path) -> list[str]:
    """Files two levels deep, which is as deep as any pattern reaches."""
    if not folder.is_dir():
        raise FetchError(
            Reason.SOURCE_NOT_FOUND, f"{folder} is no folder; write the path of a model's"
        )
    found = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file()]
    return [path.relative_to(folder).as_posix() for path in found]
