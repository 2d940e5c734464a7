"""The volume of the cache: is there room, and what does its refusal mean.

A fetch that can not fit is refused before it starts. What was fetched is kept all the same: it is part of
what is wanted, and the volume may be grown under it.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubeembed_api.reasons import Reason
from kubeembed_weights.errors import FetchError
from kubeembed_weights.progress import Meter, size

FULL = (errno.ENOSPC, errno.EDQUOT)


def require_space(root: Path, needed: int) -> None:
    """Raises FetchError DiskFull if `needed` bytes are more than what is free for us."""
    if needed > _free(root):
        raise _full(root, needed)


@contextmanager
def writing(root: Path, meter: Meter) -> Iterator[None]:
    """Whatever the file system refuses in the body becomes a FetchError: DiskFull or CacheUnwritable."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _full(root, meter.total - meter.bytes) from error
        raise FetchError(
            Reason.CACHE_UNWRITABLE,
            f"{error.filename or root}: {error.strerror}; the cache's volume must be mounted read-write "
            f"and writable for user {os.geteuid()}, group {os.getegid()} (fsGroup)",
        ) from error


def _full(root: Path, needed: int) -> FetchError:
    free = size(_free(root))
    return FetchError(
        Reason.DISK_FULL,
        f"{root}: {size(needed)} are still to come, {free} are free; enlarge the cache's volume or "
        "delete copies that no model uses. What was fetched is kept",
    )


def _free(root: Path) -> int:
    """Bytes that we may use. The root itself may not have been made yet."""
    volume = os.statvfs(next(path for path in (root, *root.parents) if path.exists()))
    return volume.f_bavail * volume.f_frsize
