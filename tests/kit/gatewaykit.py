"""A gateway in the test's own process: its table fed by hand, stub pods on loopback, wakes that are noted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from kubeembed_api.names import ACTIVATOR_PORT_ANNOTATION, MANAGED_BY, MANAGED_BY_VALUE, MODEL_LABEL
from kubeembed_gateway.activity import Activity
from kubeembed_gateway.balancing import Balancer
from kubeembed_gateway.crowd import MOST, Crowd
from kubeembed_gateway.front import Front, without_waking
from kubeembed_gateway.history import History
from kubeembed_gateway.holding import Holds, Memory
from kubeembed_gateway.keys import Keys
from kubeembed_gateway.listening import Activator, Ports
from kubeembed_gateway.metrics import Metrics
from kubeembed_gateway.overview import Overview
from kubeembed_gateway.page import Page
from kubeembed_gateway.pool import Pool
from kubeembed_gateway.reading import Key
from kubeembed_gateway.serving import Serving
from kubeembed_gateway.table import MODELS, SERVICES, SLICES, Table

Manifest = dict[str, Any]
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

NAMESPACE = "search"
#: Of the range that is the gateway's, and the common one.
PORT, COMMON_PORT = 29_001, 29_000


def model(
    name: str = "minilm", *, namespace: str = NAMESPACE, status: Any = None, **spec: Any
) -> Manifest:
    return {
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": "1"},
        "spec": spec,
        "status": status or {},
    }


def service(
    name: str = "minilm", port: int | str = PORT, *, namespace: str = NAMESPACE
) -> Manifest:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "resourceVersion": "1",
            "labels": {MANAGED_BY: MANAGED_BY_VALUE, MODEL_LABEL: name},
            "annotations": {ACTIVATOR_PORT_ANNOTATION: str(port)},
        }
    }


def slice_of(
    name: str = "minilm", *pods: tuple[str, int], namespace: str = NAMESPACE, part: str = "abcde"
) -> Manifest:
    """As Kubernetes makes them: one for each port of the endpoints. pods: name and port, on loopback."""
    return {
        "metadata": {
            "name": f"{name}-{part}",
            "namespace": namespace,
            "resourceVersion": "1",
            "labels": {"kubernetes.io/service-name": name, MODEL_LABEL: name},
        },
        "ports": [{"name": "http", "port": pods[0][1]}] if pods else None,
        "endpoints": [
            {
                "addresses": ["127.0.0.1"],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": pod},
            }
            for pod, _ in pods
        ]
        or None,
    }


@dataclass
class Seen:
    """A request as a stub pod got it."""

    method: str
    path: str
    headers: CIMultiDict[str]
    body: bytes


def seen(request: web.BaseRequest, body: bytes) -> Seen:
    return Seen(request.method, request.raw_path, CIMultiDict(request.headers), body)


@dataclass
class StubPod:
    """Answers with its name and the body, or as `answer` says; notes what it got."""

    name: str
    answer: Answer | None = None
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _web: web.Server | None = None

    async def start(self) -> "StubPod":
        self._web = web.Server(self._handle, access_log=None, handler_cancellation=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._web, "127.0.0.1", self.port, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """All at once, as a pod that is killed."""
        assert self._server is not None
        assert self._web is not None
        self._server.close()
        for connection in self._web.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await self._web.shutdown(0.1)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.answer is not None:
            return await self.answer(request)
        body = b"".join([chunk async for chunk in request.content.iter_any()])
        self.seen.append(seen(request, body))
        return web.json_response({"pod": self.name, "body": body.decode("latin-1")})


@dataclass
class Gateway:
    """All of a gateway but the process and the API server."""

    table: Table
    metrics: Metrics
    memory: Memory
    holds: Holds
    balancer: Balancer
    pool: Pool
    serving: Serving
    ports: Ports
    activator: Activator
    activity: Activity
    history: History
    woken: list[Key] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Of the model that has PORT."""
        return f"http://127.0.0.1:{PORT}"

    @property
    def common(self) -> str:
        """The URL of all models."""
        return f"http://127.0.0.1:{COMMON_PORT}"

    async def put(self, **manifests: Manifest) -> None:
        """models=..., services=..., endpointslices=...: as a watch brings them."""
        for kind, manifest in manifests.items():
            self.table.put(kind, manifest)
        await self.activator.sync()
        for key in self.table.take_changed():
            if self.table.pods(key):
                self.holds.release(key)

    async def asleep(self, name: str = "minilm", **spec: Any) -> None:
        """A model without pods that has PORT."""
        await self.put(
            **{MODELS: model(name, **spec), SERVICES: service(name), SLICES: slice_of(name)}
        )

    async def awake(self, *pods: StubPod, name: str = "minilm") -> None:
        """Its ready pods are these. Each has a slice of its own, as the ports of stubs differ."""
        for pod in pods:
            await self.put(
                **{SLICES: slice_of(name, (pod.name, pod.port), part=pod.name)},
            )

    async def gone(self, pod: StubPod, name: str = "minilm") -> None:
        self.table.drop(SLICES, (NAMESPACE, f"{name}-{pod.name}"))

    async def until_held(self, count: int, name: str = "minilm") -> None:
        async with asyncio.timeout(10):
            while self.holds.count((NAMESPACE, name)) != count:
                await asyncio.sleep(0.005)

    def counted(self, metric: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"kubeembed_gateway_{metric}", labels) or 0.0


@asynccontextmanager
async def gateway(
    held_bytes: int = 64 * 1024 * 1024,
    *,
    page: bool = True,
    keys: Path | None = None,
    connections: int = MOST,
) -> AsyncIterator[Gateway]:
    table, metrics, memory, balancer = Table(), Metrics(), Memory(held_bytes), Balancer()
    activity, ring = Activity(), Keys(keys)
    woken: list[Key] = []
    holds = Holds(woken.append, metrics)
    with closing(Pool(connections)) as pool:
        serving = Serving(
            table=table,
            holds=holds,
            balancer=balancer,
            memory=memory,
            pool=pool,
            metrics=metrics,
            activity=activity,
        )
        history = History(table, activity)
        overview = Overview(
            gateway="gateway-1",
            version="1.2.3",
            table=table,
            activity=activity,
            history=history,
            memory=memory,
            keys=ring,
        )
        ports = Ports("127.0.0.1", metrics, Crowd(connections))
        front = Front(table, serving, ring, Page(overview.tell) if page else None)
        await ports.open(COMMON_PORT, front.answer)
        activator = Activator(ports, table, partial(without_waking, table, serving))
        yield Gateway(
            table=table,
            metrics=metrics,
            memory=memory,
            holds=holds,
            balancer=balancer,
            pool=pool,
            serving=serving,
            ports=ports,
            activator=activator,
            activity=activity,
            history=history,
            woken=woken,
        )
        await ports.end(0.5)
    assert memory.held == 0
