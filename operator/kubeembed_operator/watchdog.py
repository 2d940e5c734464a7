"""Are the watches alive? The API server's own list, compared with what the watches have brought.

A watch can end without anybody noticing, and an operator that is blind looks healthy. So each kind is listed
now and then (metadata only, from the API server's cache): an object that is newer there than here, while the
watch has brought nothing at all for longer than it may lag, means that it is dead. A watch with a backlog is
slow and not dead, and an API server that does not answer means nothing.
"""

import asyncio
import logging
from collections.abc import Callable

from kubeembed_operator.cluster import Cluster, ClusterError
from kubeembed_operator.kinds import CHILDREN, MODEL, Key, Kind, Manifest, key_of
from kubeembed_operator.metrics import Metrics
from kubeembed_operator.store import Store, version_of

logger = logging.getLogger(__name__)

#: Seconds between two looks at one kind, and how long a watch may lag.
PERIOD = 30.0
LAG = 30.0


class Lag:
    """Since when the store has been behind the lists, by object. Pure but for what it remembers."""

    def __init__(self) -> None:
        self._behind: dict[Kind, dict[str, tuple[float, int]]] = {}
        self._ghosts: dict[Kind, dict[str, int]] = {}
        self._heard: dict[Kind, int] = {}

    def behind(self, kind: Kind, listed: list[Manifest], store: Store, now: float) -> float:
        """Seconds that a silent watch has not brought a version which a list of that time had."""
        known = {uid: version for _, uid, version in store.versions(kind)}
        silent = self._heard.get(kind) == store.heard[kind]
        self._heard[kind] = store.heard[kind]
        before, after = self._behind.get(kind, {}) if silent else {}, {}
        for manifest in listed:
            uid, have = manifest["metadata"]["uid"], known.get(manifest["metadata"]["uid"], 0)
            since, wanted = before.get(uid, (now, version_of(manifest)))
            if have < wanted:
                after[uid] = (since, wanted)
            elif have < version_of(manifest):
                after[uid] = (now, version_of(manifest))
        self._behind[kind] = after
        return max((now - since for since, _ in after.values()), default=0.0)

    def ghosts(self, kind: Kind, listed: list[Manifest], store: Store) -> list[Key]:
        """Objects that two lists lacked while the store did not change: their deletion was missed."""
        there = {manifest["metadata"]["uid"] for manifest in listed}
        absent = {uid: v for _, uid, v in store.versions(kind) if uid not in there}
        before, self._ghosts[kind] = self._ghosts.get(kind, {}), absent
        return [
            key for key, uid, v in store.versions(kind) if before.get(uid) == v and uid in absent
        ]


class Watchdog:
    """`run` looks at one kind after the other; `dead` says which watch is dead, if one is."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        metrics: Metrics,
        wake: Callable[[Kind, Manifest], None],
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._metrics = metrics
        self._wake = wake
        self._lag = Lag()
        self._lags: dict[Kind, float] = {}

    @property
    def dead(self) -> str | None:
        """A sentence for the liveness probe, or None."""
        for kind, seconds in self._lags.items():
            if seconds > LAG:
                return f"the watch of {kind.plural} is dead: {seconds:.0f} s behind"
        return None

    async def run(self) -> None:
        kinds = (MODEL, *CHILDREN)
        while True:
            for kind in kinds:
                await asyncio.sleep(PERIOD / len(kinds))
                await self.look(kind)

    async def look(self, kind: Kind) -> None:
        try:
            listed = await self._cluster.metadata(kind)
        except ClusterError as error:
            logger.warning("cannot compare %s: %s", kind.plural, error)
            return
        now = asyncio.get_running_loop().time()
        self._lags[kind] = seconds = self._lag.behind(kind, listed, self._store, now)
        self._metrics.watch_lag.labels(kind.name).set(seconds)
        if self.dead:
            logger.error("%s", self.dead)
        for key in self._lag.ghosts(kind, listed, self._store):
            self._bury(kind, key)

    def _bury(self, kind: Kind, key: Key) -> None:
        ghost = self._store.get(kind, key)
        if ghost is not None:
            logger.warning("%s %s is gone, which no watch told", kind.name, "/".join(key_of(ghost)))
            self._store.drop(kind, ghost)
            self._wake(kind, ghost)
