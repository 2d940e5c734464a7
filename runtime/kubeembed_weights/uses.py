"""Which copies of a cache no model uses, and since when; and when each was asked for last.

<root>/.unused/<key>  its time is when the copy was first seen to be in no model's use. A fetch takes it away
<root>/.locks/<key>   its time is when a fetch took the key last

Both are times of empty files: a mark can be taken away on a disk that has no byte left.
"""

import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)


class Uses:
    """Of one cache. To be changed under the key's lock alone; times are seconds since the epoch."""

    def __init__(self, root: Path) -> None:
        self._marks = root / ".unused"
        self._locks = root / ".locks"

    def used(self, key: str) -> float:
        """0 for what no fetch of ours has asked for."""
        return _time(self._locks / key) or 0.0

    def unused_since(self, key: str) -> float | None:
        return _time(self._marks / key)

    def unused(self) -> list[str]:
        """The longest unused first."""
        try:
            marks = {path.name: path.stat().st_mtime for path in self._marks.iterdir()}
        except FileNotFoundError:
            return []
        return sorted(marks, key=marks.__getitem__)

    def touch(self, key: str) -> None:
        """A model asks for it. Raises OSError."""
        self.unmark(key)
        os.utime(self._locks / key)

    def mark(self, key: str, now: float) -> float:
        """Since when it is unused: now, unless it was before. Best effort, for the disk may be full."""
        since = self.unused_since(key)
        if since is not None:
            return since
        try:
            self._marks.mkdir(exist_ok=True)
            (self._marks / key).touch()
            os.utime(self._marks / key, (now, now))
        except OSError as error:
            logger.warning("cannot remember since when %s is unused: %s", key, error)
        return now

    def unmark(self, key: str) -> None:
        (self._marks / key).unlink(missing_ok=True)


def _time(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
