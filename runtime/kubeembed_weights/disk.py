"""The volume of the cache: is there room, and what does its refusal mean.

A fetch that can not fit is refused before it starts. What was fetched is kept all the same: it is part of
what is wanted, and the volume may be grown under it. A fetch that fits once unused copies are gone removes
them, the longest unused first, and no more of them than it has to.
"""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubeembed_api.reasons import Reason
from kubeembed_weights.cache import Cache
from kubeembed_weights.errors import FetchError
from kubeembed_weights.progress import Meter, size

logger = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT)


def require_space(root: Path, needed: int) -> None:
    """Raises FetchError DiskFull if `needed` bytes are more than what is free for us on the disk."""
    if needed > (free := _free(root)):
        raise _full(root, needed, free)


def make_room(cache: Cache, needed: int) -> None:
    """Removes unused copies where `needed` bytes are more than what is free.

    Raises FetchError DiskFull if that is not enough: then nothing is removed. Raises OSError.
    """
    free = _room(cache)
    if needed <= free:
        return
    unused = {key: cache.bytes_of(key) for key in cache.uses.unused()}
    if needed > free + sum(unused.values()):
        raise _full(cache.root, needed, free, cache.capacity)
    for key, size_of in unused.items():
        if needed <= _room(cache):
            return
        with cache.try_lock(key) as free_to_go:
            if free_to_go and cache.uses.unused_since(key) is not None:
                logger.info("removing %s, which no model uses, for its %s", key, size(size_of))
                cache.remove(key)
    if needed > (free := _room(cache)):
        raise _full(cache.root, needed, free, cache.capacity)


@contextmanager
def writing(root: Path, meter: Meter) -> Iterator[None]:
    """Whatever the file system refuses in the body becomes a FetchError: DiskFull or CacheUnwritable."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _full(root, meter.total - meter.bytes, _free(root)) from error
        raise FetchError(
            Reason.CACHE_UNWRITABLE,
            f"{error.filename or root}: {error.strerror}; the cache's volume must be mounted read-write "
            f"and writable for user {os.geteuid()}, group {os.getegid()} (fsGroup)",
        ) from error


def _full(root: Path, needed: int, free: int, capacity: int | None = None) -> FetchError:
    of = f" of the {size(capacity)} that the volume has" if capacity is not None else ""
    return FetchError(
        Reason.DISK_FULL,
        f"{root}: {size(needed)} are still to come, {size(free)} are free{of}; enlarge the cache's volume or "
        "delete models that you do not need. What was fetched is kept",
    )


def _room(cache: Cache) -> int:
    """Bytes that are free: on the disk, and of what the cache is meant to have."""
    free = _free(cache.root)
    if cache.capacity is None:
        return free
    stored = sum(map(cache.bytes_of, cache.entries()))
    return max(0, min(free, cache.capacity - stored))


def _free(root: Path) -> int:
    """Bytes that we may use. The root itself may not have been made yet."""
    volume = os.statvfs(next(path for path in (root, *root.parents) if path.exists()))
    return volume.f_bavail * volume.f_frsize
