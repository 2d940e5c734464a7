"""Looks at the caches of a namespace: notes on their claims what is in use, and has the rest collected.

Only claims that are watched, which ours are, and those that an administrator gave our label. A pass over a
namespace in which nothing went out of use writes nothing.
"""

import logging
from collections.abc import Callable
from datetime import datetime

from kubeembed_api.names import CACHE_ANNOTATION, CACHE_MANAGER
from kubeembed_operator.caches import Note, Pending, abandoned, judged, read_note, users
from kubeembed_operator.cluster import Cluster, ClusterError, Missing
from kubeembed_operator.kinds import CLAIM, JOB, POD, Key, Manifest, key_of
from kubeembed_operator.manifests.collecting import collect_job
from kubeembed_operator.observed import controlled_by, terminating
from kubeembed_operator.settings import Settings
from kubeembed_operator.store import Store
from kubeembed_operator.workqueue import TryAgain

logger = logging.getLogger(__name__)


class Collector:
    """Called by the work queue with `caches_of` a namespace."""

    def __init__(
        self, *, store: Store, cluster: Cluster, settings: Settings, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        #: Fetches that were on their way, by claim. Lost with the process: then a part of a copy stays until
        #: something else is collected.
        self._pending: dict[Key, frozenset[Pending]] = {}

    async def __call__(self, key: Key) -> float | None:
        """One pass. Seconds until an unused copy can go; raises TryAgain."""
        if self._settings.weights.unused_seconds is None:
            return None
        claims = [each for each in self._store.claims_in(key[0]) if not terminating(each)]
        try:
            waits = [await self._claim(key, claim) for claim in claims]
        except Missing:
            return None  # the claim went; its event is on the way
        except ClusterError as error:
            logger.warning("%s: caches: %s", key[0], error)
            raise TryAgain(str(error)) from error
        return min((wait for wait in waits if wait is not None), default=None)

    async def _claim(self, key: Key, claim: Manifest) -> float | None:
        now, using = self._clock().timestamp(), users(self._store, claim)
        jobs = [job for job in self._store.children(JOB, key) if _of(job, claim)]
        verdict = judged(read_note(claim), using, jobs, self._store.children(POD, key), now)
        before = self._pending.get(key_of(claim), frozenset())
        lost = abandoned(before, using, self._store, key[0])
        if verdict.note is not None:
            await self._write(claim, verdict.note)
        if verdict.collect or (lost and not verdict.busy):
            await self._collect(claim, using.keys, now)
            lost = False
        self._pending[key_of(claim)] = using.pending | (before if lost else frozenset())
        return verdict.wait

    async def _write(self, claim: Manifest, note: Note) -> None:
        metadata = claim["metadata"]
        body = {
            "apiVersion": CLAIM.api_version,
            "kind": CLAIM.name,
            "metadata": {
                "annotations": {CACHE_ANNOTATION: note.write()},
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
        }
        self._store.put(CLAIM, await self._cluster.apply(body, manager=CACHE_MANAGER))

    async def _collect(self, claim: Manifest, keep: frozenset[str], now: float) -> None:
        job = collect_job(claim, keep, now, self._settings)
        logger.info("%s: collecting what no model uses", "/".join(key_of(claim)))
        self._store.put(JOB, await self._cluster.apply(job))


def _of(job: Manifest, claim: Manifest) -> bool:
    return controlled_by(job, claim["metadata"]["uid"]) and not terminating(job)
