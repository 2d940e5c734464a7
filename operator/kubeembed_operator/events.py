"""Kubernetes Events of a model: one when Ready becomes another than before, so that `kubectl describe` tells.

Sent beside the passes and dropped when the API server can't keep up: an Event is news, status is the truth.
"""

import asyncio
import logging
from datetime import datetime

from kubeembed_api.names import GROUP
from kubeembed_api.reasons import ON_THE_WAY
from kubeembed_operator.cluster import Cluster, ClusterError
from kubeembed_operator.condition import Condition
from kubeembed_operator.kinds import EVENT, MODEL, Manifest

logger = logging.getLogger(__name__)

#: The API server's limit for the text of an Event.
NOTE_LIMIT = 1024
#: Events that wait to be sent.
WAITING = 1000


class Recorder:
    """`record` never waits; `run` sends until it is cancelled."""

    def __init__(self, cluster: Cluster, instance: str) -> None:
        self._cluster = cluster
        self._instance = instance
        self._waiting: asyncio.Queue[Manifest] = asyncio.Queue(WAITING)

    def record(self, model: Manifest, condition: Condition, now: datetime) -> None:
        try:
            self._waiting.put_nowait(event(model, condition, now, self._instance))
        except asyncio.QueueFull:
            logger.warning("more than %s Events wait; one is dropped", WAITING)

    async def run(self) -> None:
        while True:
            waiting = await self._waiting.get()
            try:
                await self._cluster.create_event(waiting)
            except ClusterError as error:
                logger.warning("an Event is lost: %s", error)


def event(model: Manifest, condition: Condition, now: datetime, instance: str) -> Manifest:
    """One Event about a model. Its name is made of the time, as client-go does."""
    metadata = model["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    good = condition.status == "True"
    return {
        "action": "Reconcile",
        "apiVersion": EVENT.api_version,
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "kind": EVENT.name,
        "metadata": {
            "name": f"{name}.{int(now.timestamp() * 1_000_000):x}",
            "namespace": namespace,
        },
        "note": condition.message[:NOTE_LIMIT],
        "reason": str(condition.reason),
        "regarding": {
            "apiVersion": MODEL.api_version,
            "kind": MODEL.name,
            "name": name,
            "namespace": namespace,
            "uid": metadata["uid"],
        },
        "reportingController": f"{GROUP}/operator",
        "reportingInstance": instance,
        "type": "Normal" if good or condition.reason in ON_THE_WAY else "Warning",
    }
