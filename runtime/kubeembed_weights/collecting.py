"""Removes what no model uses for longer than a time to live: copies, and downloads that nobody continues.

Who calls knows the keys in use, but may have decided a while ago. A key that a fetch has asked for since then
has come back and stays; so does one whose lock is held. What a process has open it keeps, as files do.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass

from kubeembed_api.report import CacheReport
from kubeembed_weights.cache import Cache

logger = logging.getLogger(__name__)

#: Seconds by which the clocks of two nodes may differ.
SKEW = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which keys are in use, known at the time `decided`; the rest is removed after `ttl` seconds."""

    keep: Collection[str]
    ttl: float
    decided: float


def collect(cache: Cache, decision: Decision, now: float) -> CacheReport:
    """One look at every key. Times are seconds since the epoch. Raises OSError."""
    cache.bury()
    left = {key: _one(cache, key, decision, now) for key in cache.entries()}
    waits = {key: after for key, after in left.items() if after is not None and after > 0}
    here = {key: cache.bytes_of(key) for key in cache.entries()}
    return CacheReport(
        copies=len(here),
        bytes=sum(here.values()),
        unused=len(waits),
        unused_bytes=sum(here.get(key, 0) for key in waits),
        removed=tuple(key for key in left if key not in here),
        next_seconds=min(waits.values(), default=None),
    )


def _one(cache: Cache, key: str, decision: Decision, now: float) -> float | None:
    """Seconds until the key can go, 0 where it is gone now; None for one in use."""
    with cache.try_lock(key) as taken:
        if key in decision.keep:
            cache.uses.unmark(key)
            return None
        if not taken or cache.uses.used(key) > decision.decided - SKEW:
            return SKEW  # a later decision knows whose it is
        after = cache.uses.mark(key, now) + decision.ttl - now
        if after > 0:
            return after
        logger.info("removing %s, which no model uses", key)
        cache.remove(key)
        return 0.0
