"""One gateway process: its rooms held together, from the first list to the last answer.

It is stateless: what it holds is with its clients, who come again where it dies. After a signal it goes on
serving until nothing leads to it any more, then finishes what it has.
"""

import asyncio
import itertools
import logging
import signal
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kubernetes.aio.client import ApiClient

import kubeembed_gateway
from kubeembed_api import openfiles
from kubeembed_api.names import HTTP_PORT
from kubeembed_gateway.activity import Activity
from kubeembed_gateway.balancing import Balancer
from kubeembed_gateway.cluster import Cluster
from kubeembed_gateway.crowd import MOST, Crowd
from kubeembed_gateway.front import Front, without_waking
from kubeembed_gateway.history import STEP_SECONDS, History
from kubeembed_gateway.holding import Holds, Memory
from kubeembed_gateway.keys import Keys
from kubeembed_gateway.listening import Activator, Ports
from kubeembed_gateway.metrics import Metrics, forget_gone
from kubeembed_gateway.overview import Overview
from kubeembed_gateway.page import Page
from kubeembed_gateway.pool import Pool
from kubeembed_gateway.reading import Key
from kubeembed_gateway.serving import Serving
from kubeembed_gateway.table import Table
from kubeembed_gateway.waking import Waker
from kubeembed_gateway.watches import Watches

logger = logging.getLogger(__name__)

#: Seconds from a signal until new connections are refused: Services have to forget this pod.
LINGER_SECONDS = 5.0
#: For which held requests may go on waiting, and those in hand be answered; kubelet gives 120 in all.
HOLD_SECONDS, DRAIN_SECONDS = 60.0, 45.0
#: Seconds between two tries to open a port that was taken.
AGAIN = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """port: the common one. namespace: the only one looked at; empty: all. held_bytes: of bodies, at most.
    page: whether people get one at the common port. api_keys: a folder of keys for that port; None: nobody is
    asked for one."""

    host: str = "0.0.0.0"
    port: int = HTTP_PORT
    namespace: str = ""
    held_bytes: int = 64 * 1024 * 1024
    page: bool = True
    api_keys: Path | None = None


class Process:
    """`run` returns after a signal, when all is answered."""

    def __init__(self, options: Options, api: ApiClient, metrics: Metrics) -> None:
        """Raises KeysError."""
        self._options = options
        self._keys = Keys(options.api_keys)
        crowd = Crowd(openfiles.pairs(MOST))  # one of a client, one to a pod
        self._pool = Pool(crowd.most)
        self._table = Table()
        cluster = Cluster(api, options.namespace)
        self._holds = Holds(self._wake, metrics)
        self._waker = Waker(cluster, metrics, lambda key: self._holds.count(key) > 0)
        self._balancer = Balancer()
        memory = Memory(options.held_bytes)
        self._metrics, self._activity = metrics, Activity()
        serving = Serving(
            table=self._table,
            holds=self._holds,
            balancer=self._balancer,
            memory=memory,
            pool=self._pool,
            metrics=metrics,
            activity=self._activity,
        )
        self._history = History(self._table, self._activity)
        overview = Overview(
            gateway=socket.gethostname(),
            version=kubeembed_gateway.__version__,
            table=self._table,
            activity=self._activity,
            history=self._history,
            memory=memory,
            keys=self._keys,
        )
        self._ports = Ports(options.host, metrics, crowd)
        page = Page(overview.tell) if options.page else None
        self._front = Front(self._table, serving, self._keys, page)
        self._activator = Activator(
            self._ports, self._table, partial(without_waking, self._table, serving)
        )
        self._watches = Watches(cluster, self._table, metrics, self._notice)
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        metrics.held_bytes.set_function(lambda: memory.held)
        metrics.connections.set_function(lambda: len(crowd))
        metrics.models.set_function(lambda: len(self._table.models))
        metrics.pods.set_function(lambda: len(self._table.all_pods()))
        metrics.left_out.set_function(self._balancer.left_out)

    def unready(self) -> str | None:
        """For the readiness probe."""
        if self._stopping.is_set():
            return "stopping"
        if not self._watches.synced:
            return "the API server has not told all yet"
        return None if self._activator.ready else "ports of models are not open yet"

    async def run(self) -> None:
        """Raises OSError where the common port is taken."""
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self._stopping.set)
        await self._ports.open(self._options.port, self._front.answer)
        parts = [
            asyncio.create_task(self._watches.run(), name="watches"),
            asyncio.create_task(self._follow(), name="ports"),
            asyncio.create_task(self._remember(), name="history"),
        ]
        if self._options.api_keys is not None:
            parts.append(asyncio.create_task(self._keys.follow(), name="keys"))
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([*parts, stop], return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part.done():
                    part.result()
            await self._drain()
        finally:
            for task in (*parts, stop):
                task.cancel()
            await asyncio.gather(*parts, stop, return_exceptions=True)
            await self._waker.close()
            self._pool.close()

    async def _drain(self) -> None:
        logger.info("stopping")
        self._ports.drain()
        await asyncio.sleep(LINGER_SECONDS)
        asyncio.get_running_loop().call_later(HOLD_SECONDS, self._holds.close)
        await self._ports.end(HOLD_SECONDS + DRAIN_SECONDS)

    async def _follow(self) -> None:
        """Brings ports and balancer up to what the table says, whenever that has changed."""
        while True:
            self._changed.clear()
            await self._activator.sync()
            self._balancer.keep(self._table.all_pods())
            again = None if self._activator.ready else AGAIN
            try:
                await asyncio.wait_for(self._changed.wait(), again)
            except TimeoutError:
                continue

    async def _remember(self) -> None:
        """Samples for the page, at steps that do not drift; and forgets what is gone."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for step in itertools.count():
            await asyncio.sleep(begun + step * STEP_SECONDS - loop.time())
            self._history.sample()
            forget_gone(self._metrics, self._table, self._activity)

    def _notice(self) -> None:
        """The table has changed."""
        self._changed.set()
        for key in self._table.take_changed():
            if self._table.pods(key):
                self._holds.release(key)

    def _wake(self, key: Key) -> None:
        if self._table.may_sleep(key):
            self._waker(key)
