"""Lists and watches -> the table, for ever. While the API server is away, what is known goes on being served.

A watch goes on where the last one ended, and only a version that the API server has forgotten (410) costs
another list.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from kubeembed_gateway.cluster import WATCHED, ApiError, Cluster, Watched
from kubeembed_gateway.metrics import Metrics
from kubeembed_gateway.reading import key_of
from kubeembed_gateway.table import Table

logger = logging.getLogger(__name__)

#: Seconds before the next try, doubled up to the cap, times a random part: gateways shall not come together.
BACKOFF, BACKOFF_CAP = 0.2, 5.0


class Watches:
    """`run` never ends. changed: called when the table has changed."""

    def __init__(
        self, cluster: Cluster, table: Table, metrics: Metrics, changed: Callable[[], None]
    ) -> None:
        self._cluster = cluster
        self._table = table
        self._metrics = metrics
        self._changed = changed
        self._listed: set[str] = set()

    @property
    def synced(self) -> bool:
        """Whether every kind has been listed once."""
        return len(self._listed) == len(WATCHED)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for watched in WATCHED:
                group.create_task(self._follow(watched), name=f"watch of {watched.kind}")

    async def _follow(self, watched: Watched) -> None:
        """One kind."""
        version, failures = "", 0
        while True:
            try:
                if not version:
                    version = await self._list(watched)
                async for kind, manifest in self._cluster.watch(watched, version):
                    version, failures = manifest["metadata"]["resourceVersion"], 0
                    self._hear(watched, kind, manifest)
                failures = 0
            except ApiError as error:
                if error.code == 410:
                    version = ""
                self._metrics.watch_errors.labels(watched.kind, str(error.code)).inc()
                logger.warning("%s: %s", watched.kind, error)
                delay = min(BACKOFF * 2 ** min(failures, 10), BACKOFF_CAP)
                failures += 1
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))

    async def _list(self, watched: Watched) -> str:
        manifests, version = await self._cluster.listed(watched)
        self._table.replace(watched.kind, manifests)
        self._listed.add(watched.kind)
        self._changed()
        return version

    def _hear(self, watched: Watched, kind: str, manifest: dict[str, object]) -> None:
        if kind == "BOOKMARK":
            return
        if kind == "DELETED":
            self._table.drop(watched.kind, key_of(manifest))
        else:
            self._table.put(watched.kind, manifest)
        self._changed()
