"""One operator process: a follower, then perhaps the leader, and an orderly end.

Everything that the leader does is a part that never ends by itself. One that does end takes the process with
it: a new process is a surer cure than a part that nobody restarts.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import aiohttp
import kopf
from kubernetes.aio.client import ApiClient

from kubeembed_operator import handlers
from kubeembed_operator.cachemetrics import CacheFigures
from kubeembed_operator.cluster import Cluster, Missing
from kubeembed_operator.collector import Collector
from kubeembed_operator.events import Recorder
from kubeembed_operator.kedafigures import KedaFigures
from kubeembed_operator.kinds import MODEL, Key, Kind, Manifest
from kubeembed_operator.leader import Leadership
from kubeembed_operator.loads import Loads
from kubeembed_operator.metrics import Metrics
from kubeembed_operator.modelmetrics import ModelFigures
from kubeembed_operator.pods import Pods
from kubeembed_operator.reconcile import Reconciler
from kubeembed_operator.scaledobjects import ScaledObjects
from kubeembed_operator.settings import Settings, SettingsError
from kubeembed_operator.store import Store, caches_of
from kubeembed_operator.watchdog import Watchdog
from kubeembed_operator.workqueue import GATHER, WorkQueue

logger = logging.getLogger(__name__)

#: Models that are worked on at once: enough to keep the API server busy, which is what takes the time.
CONCURRENCY = 16
#: Seconds that events are gathered before the caches of a namespace are looked at: nobody waits for that.
CACHES_GATHER = 2.0
#: Seconds that passes in hand get to finish after a signal; kubelet gives 30 in all.
STOP_SECONDS = 10.0


class Process:
    """Holds the rooms together. `run` returns the exit code."""

    def __init__(
        self, settings: Settings, api: ApiClient, session: aiohttp.ClientSession, metrics: Metrics
    ) -> None:
        identity = os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"
        namespace = os.environ.get("POD_NAMESPACE") or "default"
        self._settings = settings
        self._metrics = metrics
        self._store = Store()
        self._queue: WorkQueue[Key] = WorkQueue(CONCURRENCY)
        self._cluster = Cluster(api, metrics, settings.namespace)
        self._recorder = Recorder(self._cluster, identity)
        self._leadership = Leadership(api, namespace, identity)
        self._watchdog = Watchdog(self._store, self._cluster, metrics, self._wake_for)
        pods = Pods(session, metrics)
        self._loads = Loads(
            store=self._store,
            cluster=self._cluster,
            pods=pods,
            gateway=settings.gateway,
            wake=self._wake,
            clock=_now,
        )
        self._scaled_objects = ScaledObjects(
            store=self._store, cluster=self._cluster, wake=self._wake
        )
        #: Who answers KEDA; None where no model is scaled by it.
        self.keda: KedaFigures | None = None
        if settings.keda is not None:
            self.keda = KedaFigures(
                cluster=self._cluster, pods=pods, gateway=settings.gateway, clock=_now
            )
        self._reconciler = Reconciler(
            store=self._store,
            cluster=self._cluster,
            settings=settings,
            pods=pods,
            loads=self._loads,
            scaled_objects=self._scaled_objects,
            recorder=self._recorder,
            metrics=metrics,
            clock=_now,
        )
        self._collector = Collector(
            store=self._store,
            cluster=self._cluster,
            settings=settings,
            clock=lambda: datetime.now(UTC),
        )
        self._stopping = asyncio.Event()
        self._connected = False
        metrics.registry.register(CacheFigures(self._store))
        metrics.registry.register(ModelFigures(self._store))
        metrics.queue_depth.set_function(lambda: len(self._queue))
        metrics.in_hand.set_function(lambda: self._queue.running)
        metrics.models.set_function(lambda: len(self._store.keys(MODEL)))

    async def run(self) -> int:
        """0 after a signal, 1 where the Lease or a part was lost."""
        self._handle_signals()
        await self._check_kind()
        self._connected = True
        if not await self._unless_stopped(self._leadership.acquire()):
            return 0
        self._metrics.leader.set(1)
        try:
            return await self._lead()
        finally:
            self._metrics.leader.set(0)
            await self._leadership.release()

    def dead(self) -> str | None:
        """For the liveness probe."""
        return self._watchdog.dead

    def unready(self) -> str | None:
        """For the readiness probe."""
        return None if self._connected else "the API server has not answered yet"

    async def _lead(self) -> int:
        work = {
            "lease": self._leadership.keep(),
            "work queue": self._queue.run(self._look),
            "events": self._recorder.run(),
            "loads": self._loads.run(),
            "watchdog": self._watchdog.run(),
        }
        if self._settings.keda is not None:
            work["scaled objects"] = self._scaled_objects.run()
        parts = {name: asyncio.create_task(each, name=name) for name, each in work.items()}
        end = asyncio.Event()
        parts["watches"] = await self._watch(end)
        signalled = not await self._unless_stopped(_first(parts))
        self._queue.stop()
        await asyncio.wait([parts["work queue"]], timeout=STOP_SECONDS)
        end.set()
        await asyncio.wait([parts["watches"]], timeout=STOP_SECONDS)
        for part in parts.values():
            part.cancel()
        await asyncio.wait(parts.values())
        return 0 if signalled else 1

    async def _watch(self, end: asyncio.Event) -> "asyncio.Task[None]":
        """kopf beside us. It takes the signals for itself, so ours are set again."""
        ours = asyncio.all_tasks()  # kopf ends every other task when it ends
        namespaces = [self._settings.namespace] if self._settings.namespace else []
        tasks = await kopf.spawn_tasks(
            registry=handlers.registry(self._store, self._wake),
            settings=handlers.settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=end,
        )
        self._handle_signals()
        return asyncio.create_task(kopf.run_tasks(tasks, ignored=ours), name="watches")

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self._stopping.set)

    async def _check_kind(self) -> None:
        """kopf would wait without a word for a kind that is not there."""
        try:
            await self._cluster.metadata(MODEL, limit=1)
        except Missing:
            raise SettingsError(
                "the cluster does not know EmbeddingModels: apply crds/embeddingmodels.yaml"
            ) from None

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether `work` ended by itself. A signal cancels it."""
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        await asyncio.wait([task])
        return False

    def _wake_for(self, kind: Kind, manifest: Manifest) -> None:
        for key in handlers.woken(self._store, kind, manifest):
            self._wake(key)

    def _wake(self, key: Key) -> None:
        self._queue.add(key, CACHES_GATHER if key == caches_of(key[0]) else GATHER)

    async def _look(self, key: Key) -> float | None:
        return await (self._collector if key == caches_of(key[0]) else self._reconciler)(key)


async def _first(parts: "dict[str, asyncio.Task[None]]") -> None:
    """Returns when one of them has ended, and says how."""
    await asyncio.wait(parts.values(), return_when=asyncio.FIRST_COMPLETED)
    for name, part in parts.items():
        if part.done():
            error = None if part.cancelled() else part.exception()
            logger.error("%s ended, so the process ends", name, exc_info=error)


def _now() -> datetime:
    return datetime.now(UTC)
