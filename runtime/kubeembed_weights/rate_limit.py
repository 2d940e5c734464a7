"""What a source said about when to come back, kept in the cache for the next start of the container.

Kubelet starts a failed container again on its own schedule, which knows nothing of Retry-After: the new one
waits here instead of asking, and being refused, once more. Best effort: without a volume nothing is kept.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

#: A source that says more is asked after this all the same: so long is a mistake soon noticed.
LONGEST_SECONDS = 3600.0


class RateLimit:
    """Of one source and revision. Times are seconds since the epoch: they outlive the process."""

    def __init__(
        self, root: Path, source: str, revision: str | None, clock: Callable[[], float] = time.time
    ) -> None:
        name = hashlib.sha256(f"{source}\n{revision or ''}".encode()).hexdigest()[:8]
        self._path = root / ".requests" / f"{name}.json"
        self._clock = clock

    def remaining(self) -> float:
        """Seconds until the source may be asked again; 0 if it may now."""
        try:
            not_before = float(json.loads(self._path.read_text())["notBefore"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0
        return min(max(0.0, not_before - self._clock()), LONGEST_SECONDS)

    def remember(self, seconds: float) -> None:
        try:
            self._path.parent.mkdir(exist_ok=True)
            self._path.write_text(json.dumps({"notBefore": self._clock() + seconds}))
        except OSError as error:
            logger.info("not remembering to wait %.0f s: %s", seconds, error)

    def forget(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            logger.info("not forgetting %s: %s", self._path, error)
