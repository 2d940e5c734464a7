"""Removes what no model uses for longer than a time to live: copies, and downloads that nobody continues.

Who calls knows the keys in use, but may have decided a while ago. A key that a fetch has asked for since then
has come back and stays; so does one whose lock is held. What a process has open it keeps, as files do.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import inf

from kubeembed_api.report import CacheReport, UnusedCopy
from kubeembed_weights.cache import Cache

logger = logging.getLogger(__name__)

#: Kubelet keeps 4,096 bytes of the last word. So many of them are for the list of unused copies, and so many
#: of the removed ones are named.
LISTED_BYTES, REMOVED = 2500, 30

#: Seconds by which the clocks of two nodes may differ.
SKEW = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which keys are in use, known at the time `decided`; the rest is removed after `ttl` seconds, those in
    `remove` at once. A ttl of infinity: what is unused stays, and no fetch takes its room either."""

    keep: Collection[str]
    ttl: float
    decided: float
    remove: Collection[str] = ()


def collect(cache: Cache, decision: Decision, now: float) -> CacheReport:
    """One look at every key. Times are seconds since the epoch. Raises OSError."""
    cache.bury()
    left = {key: _one(cache, key, decision, now) for key in cache.entries()}
    waits = {key: after for key, after in left.items() if after is not None and after > 0}
    here = {key: cache.bytes_of(key) for key in cache.entries()}
    soonest = min(waits.values(), default=inf)
    return CacheReport(
        copies=len(here),
        bytes=sum(here.values()),
        unused=len(waits),
        unused_bytes=sum(here.get(key, 0) for key in waits),
        removed=tuple(key for key in left if key not in here)[:REMOVED],
        next_seconds=None if soonest == inf else soonest,
        listed=_listed(cache, waits, here, decision, now),
    )


def _one(cache: Cache, key: str, decision: Decision, now: float) -> float | None:
    """Seconds until the key can go, 0 where it is gone now; None for one in use."""
    with cache.try_lock(key) as taken:
        if key in decision.keep:
            cache.uses.unmark(key)
            return None
        if not taken or cache.uses.used(key) > decision.decided - SKEW:
            return SKEW  # a later decision knows whose it is
        after = _left(cache, key, decision, now)
        if after > 0:
            return after
        logger.info("removing %s, which no model uses", key)
        cache.remove(key)
        return 0.0


def _left(cache: Cache, key: str, decision: Decision, now: float) -> float:
    """Seconds of its time to live. Where that has no end there is no mark: what has one goes when a fetch
    needs room."""
    if key in decision.remove:
        return 0.0
    if decision.ttl == inf:
        cache.uses.unmark(key)
        return inf
    return cache.uses.mark(key, now) + decision.ttl - now


def _listed(
    cache: Cache,
    waits: Mapping[str, float],
    here: Mapping[str, int],
    decision: Decision,
    now: float,
) -> tuple[UnusedCopy, ...]:
    """What somebody waits for comes first, then what goes first; as many as the last word has room for."""
    ordered = sorted(waits, key=lambda key: (key not in decision.remove, waits[key], key))
    copies = [_unused(cache, key, here[key], now + waits[key]) for key in ordered if key in here]
    sizes = accumulate(len(copy.model_dump_json(by_alias=True)) for copy in copies)
    return tuple(copy for copy, size in zip(copies, sizes, strict=True) if size <= LISTED_BYTES)


def _unused(cache: Cache, key: str, size: int, goes: float) -> UnusedCopy:
    since, manifest = cache.uses.unused_since(key), cache.manifest(key)
    return UnusedCopy(
        key=key,
        bytes=size,
        since=None if since is None else int(since),
        goes=None if since is None else int(goes),
        source=None if manifest is None else manifest.source,
        revision=None if manifest is None else manifest.revision or None,
    )
