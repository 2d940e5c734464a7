"""Looks at the caches of a namespace: notes on their claims what is in use, and has the rest collected.

Only claims that are watched, which ours are, and those that an administrator gave our label. A pass over a
namespace in which nothing went out of use writes nothing.
"""

import logging
from collections.abc import Callable
from datetime import datetime

from kubeembed_api.cachenotes import (
    Note,
    annotation_of,
    asked_to_go,
    bounded,
    read_note,
    read_notes,
    written,
)
from kubeembed_api.names import CACHE_MANAGER, NODE_ANNOTATION, NODE_CLAIM
from kubeembed_operator.caches import (
    Pending,
    Users,
    Verdict,
    abandoned,
    judged,
    nodes_of,
    users,
)
from kubeembed_operator.cluster import Cluster, ClusterError, Missing
from kubeembed_operator.kinds import CLAIM, JOB, POD, Key, Manifest, key_of
from kubeembed_operator.manifests.collecting import collect_job
from kubeembed_operator.observed import controlled_by, terminating
from kubeembed_operator.settings import Settings
from kubeembed_operator.store import Store
from kubeembed_operator.workqueue import TryAgain

logger = logging.getLogger(__name__)

#: Collections of one claim side by side, each a pod on a node of its own.
AT_ONCE = 16


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
        before = self._pending.get(key_of(claim), frozenset())
        lost = abandoned(before, using, self._store, key[0])
        notes = read_notes(claim)
        verdicts = {
            node: self._verdict(key, claim, node, using, now) for node in self._places(claim, notes)
        }
        changed = {
            node: each.note
            for node, each in verdicts.items()
            if each.note or (each.gone and node in notes)
        }
        if changed:
            told = [note for note in {**notes, **changed}.values() if note is not None]
            await self._write(claim, bounded(told, nodes_of(self._store, key[0])))
        busy = sum(verdict.busy for verdict in verdicts.values())
        wanted = [node for node, each in verdicts.items() if each.collect or (lost and not busy)]
        for node in wanted[: max(AT_ONCE - busy, 0)]:
            await self._collect(claim, using.keys, now, node)
        self._pending[key_of(claim)] = using.pending | (before if lost and busy else frozenset())
        waits = [verdict.wait for verdict in verdicts.values() if verdict.wait is not None]
        return min(waits, default=None)

    def _places(self, claim: Manifest, notes: dict[str | None, Note]) -> list[str | None]:
        """The claim itself; of the Node cache each node that has or may have copies."""
        namespace, name = key_of(claim)
        if name != NODE_CLAIM:
            return [None]
        return [*sorted(nodes_of(self._store, namespace) | {node for node in notes if node})]

    def _verdict(
        self, key: Key, claim: Manifest, node: str | None, using: Users, now: float
    ) -> Verdict:
        jobs = [job for job in self._store.children(JOB, key) if _of(job, claim, node)]
        pods = self._store.children(POD, key)
        note, asked = read_note(claim, node), asked_to_go(claim)
        return judged(note, using, jobs, pods, now, node=node, asked=asked)

    async def _write(self, claim: Manifest, notes: list[Note]) -> None:
        """All of a claim's notes: one that is left out is taken away."""
        metadata = claim["metadata"]
        told = {annotation_of(note.node): note.write() for note in notes}
        if told == written(claim):
            return  # a note that found no room
        body = {
            "apiVersion": CLAIM.api_version,
            "kind": CLAIM.name,
            "metadata": {
                "annotations": told,
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
        }
        self._store.put(CLAIM, await self._cluster.apply(body, manager=CACHE_MANAGER))

    async def _collect(
        self, claim: Manifest, keep: frozenset[str], now: float, node: str | None
    ) -> None:
        remove = asked_to_go(claim) - keep
        job = collect_job(claim, keep, now, self._settings, node=node, remove=remove)
        logger.info("%s: collecting what no model uses", "/".join(key_of(claim)))
        self._store.put(JOB, await self._cluster.apply(job))


def _of(job: Manifest, claim: Manifest, node: str | None) -> bool:
    there = (job["metadata"].get("annotations") or {}).get(NODE_ANNOTATION)
    ours = there == node and controlled_by(job, claim["metadata"]["uid"])
    return ours and not terminating(job)
