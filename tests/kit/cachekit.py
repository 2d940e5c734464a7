"""Programs that tests bring once, kept in the user's cache: one test run brings them, others wait for it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cached(part: str) -> Path:
    """A folder there. It need not exist yet."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "kubeembed" / part


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """With the folder made, and nobody else in here for it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
