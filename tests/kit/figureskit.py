"""All that exports figures, with figures in it: a runtime's process, a gateway, and an operator's index."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from gatewaykit import COMMON_PORT, NAMESPACE, Gateway, StubPod, gateway
from kubeembed_api.cachenotes import Note
from kubeembed_gateway import admin
from kubeembed_gateway.cluster import Cluster
from kubeembed_gateway.waking import Waker
from kubeembed_operator import probes
from kubeembed_operator.cachemetrics import CacheFigures
from kubeembed_operator.kinds import CLAIM, MODEL
from kubeembed_operator.metrics import Metrics
from kubeembed_operator.modelmetrics import ModelFigures
from kubeembed_operator.store import Store
from prometheuskit import Target
from runtimekit import document, free_ports, launch, minilm_folder

Manifest = dict[str, Any]

URL = f"http://127.0.0.1:{COMMON_PORT}/v1/embeddings"


def filled() -> Store:
    """What an operator knows: a model that serves, with a refused adapter, and one that can't start."""
    store = Store()
    store.put(MODEL, _model("minilm", "True", "Ready"))
    store.put(MODEL, _model("lost", "False", "CrashLoop"))
    note = Note(copies=2, bytes=27, unused=1, unused_bytes=9)
    annotations = {"kubeembed.dev/cache": note.write()}
    store.put(CLAIM, {"metadata": {**_head("kubeembed-weights"), "annotations": annotations}})
    return store


def _model(name: str, ready: str, reason: str) -> Manifest:
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": ""}
    status = {
        "conditions": [condition],
        "replicas": {"desired": 2, "ready": 1},
        "weights": {"key": "a" * 32, "bytes": 90},
        "adapters": [{"name": "legal", "ready": "0/1", "reason": "AdapterRefused"}],
        "lastColdStart": {"totalSeconds": 8.4, "loadSeconds": 2.3},
    }
    return {"metadata": _head(name), "spec": {}, "status": status}


def _head(name: str) -> Manifest:
    return {"name": name, "namespace": NAMESPACE, "uid": name, "resourceVersion": "1"}


@asynccontextmanager
async def operator() -> AsyncIterator[Target]:
    """The operator's server over that index. Of a pass and a call, once each."""
    metrics = Metrics()
    metrics.registry.register(CacheFigures(store := filled()))
    metrics.registry.register(ModelFigures(store))
    metrics.models.set_function(lambda: len(store.keys(MODEL)))
    metrics.leader.set(1)
    metrics.reconciles.labels("ok").inc()
    metrics.api_calls.labels("GET", "Pod", "200").inc()
    metrics.watch_lag.labels("Pod").set(0.1)
    (port,) = free_ports(1)
    server = await probes.serve(metrics, _well, _well, host="127.0.0.1", port=port)
    yield Target("operator", port, {"namespace": "system", "pod": "operator-1"}, honor=True)
    await server.cleanup()


def _well() -> None:
    return None


class Scale(Cluster):
    """Of the API server, the one answer that a wake needs."""

    def __init__(self) -> None:
        pass

    async def wake(self, key: tuple[str, str]) -> bool:
        return True


@asynccontextmanager
async def front_door() -> AsyncIterator[Target]:
    """A gateway whose model falls asleep and is woken all the while, and that loses one of two pods."""
    async with gateway() as front, aiohttp.ClientSession() as client:
        waker = Waker(Scale(), front.metrics, lambda key: front.holds.count(key) > 0)
        front.metrics.left_out.set_function(front.balancer.left_out)
        front.metrics.watch_errors.labels("services", "403").inc()
        pods = [await StubPod(name).start() for name in ("pod-1", "pod-2")]
        await pods[0].stop()
        (port,) = free_ports(1)
        server = await admin.serve(front.metrics, _well, host="127.0.0.1", port=port)
        waking = asyncio.create_task(_sleep_and_wake(front, waker, client, pods))
        yield Target("gateway", port, {"namespace": "system", "pod": "gateway-1"}, honor=True)
        await _end(waking)
        await server.cleanup()
        await waker.close()
        await pods[1].stop()


async def _sleep_and_wake(
    front: Gateway, waker: Waker, client: aiohttp.ClientSession, pods: list[StubPod]
) -> None:
    while True:
        await front.asleep()
        for pod in pods:
            await front.gone(pod)
        asked = asyncio.create_task(client.post(URL, json={"model": "minilm", "input": "a"}))
        await front.until_held(1)
        waker((NAMESPACE, "minilm"))
        await front.awake(*pods)
        async with await asked as got:
            assert got.status == 200
        await asyncio.sleep(0.5)


async def _end(task: "asyncio.Task[None]") -> None:
    """Raises what it failed with, if it did."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Target]:
    """A runtime's process with a real model, that is asked all the while."""
    process = launch(folder, document(minilm_folder()))
    await asyncio.to_thread(process.until_ready)
    asking = asyncio.create_task(_ask(f"{process.url}/v1/embeddings"))
    labels = {"namespace": NAMESPACE, "pod": "minilm-1", "kubeembed_dev_model": "minilm"}
    try:
        yield Target("models", process.admin_port, labels)
    finally:
        await _end(asking)
        process.end()


async def _ask(url: str) -> None:
    async with aiohttp.ClientSession() as client:
        while True:
            async with client.post(url, json={"model": "minilm", "input": ["a", "b"]}) as got:
                assert got.status == 200
            await asyncio.sleep(0.1)
