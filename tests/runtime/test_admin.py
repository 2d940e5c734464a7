from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kubeembed_runtime.api.admin import admin_app
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.lifecycle import Lifecycle, Phase
from kubeembed_runtime.requests import BatchRun
from kubeembed_runtime.traffic import Traffic
from kubeembed_runtime.usage import Usage


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle("minilm")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3")


@pytest.fixture
async def client(lifecycle: Lifecycle, metrics: Metrics) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(admin_app(lifecycle, metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        yield client


async def health(client: httpx.AsyncClient) -> tuple[int, int]:
    return (await client.get("/livez")).status_code, (await client.get("/readyz")).status_code


async def test_health_follows_the_life_of_the_process(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any
) -> None:
    assert await health(client) == (200, 503)
    lifecycle.ready(fake_model)
    assert await health(client) == (200, 200)
    lifecycle.drain()
    assert await health(client) == (200, 503)
    assert (await client.get("/readyz")).text == "Draining\n"


async def test_a_dead_device_fails_liveness_and_readiness(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any
) -> None:
    lifecycle.ready(fake_model)
    fake_model.alive = False
    assert await health(client) == (503, 503)


async def test_info_is_the_operator_s_to_read(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any
) -> None:
    assert (await client.get("/info")).status_code == 503
    lifecycle.ready(fake_model)
    assert (await client.get("/info")).json() == {
        "name": "minilm",
        "dimensions": 3,
        "maxTokens": 256,
        "outputs": ["dense"],
        "outputDimensions": {},
        "prompts": [],
        "pooling": "mean",
        "normalize": True,
        "dtype": "float32",
        "device": "cpu",
        "fingerprint": "f00d",
        "revision": None,
        "labels": [],
        "instructed": False,
        "maxConcurrentRequests": None,
        "maxBatchTokens": None,
        "tokenizerThreads": None,
        "startup": None,
    }


async def test_load_is_the_autoscaler_s_to_read(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any
) -> None:
    assert (await client.get("/load")).status_code == 503
    now = 50.0
    lifecycle.traffic = Traffic(lambda: now)
    lifecycle.ready(fake_model)
    fake_model.usage = Usage(busy_seconds=1.5, tokens=300, queued_tokens=20)
    now = 62.0
    told = (await client.get("/load")).json()
    assert told.pop("upSeconds") > 0
    assert told == {
        "busySeconds": 1.5,
        "queuedTokens": 20,
        "inFlight": 0,
        "tokens": 300,
        "idleSeconds": 12.0,
    }
    lifecycle.traffic.begin()
    now = 70.0
    assert (await client.get("/load")).json()["inFlight"] == 1
    assert (await client.get("/load")).json()["idleSeconds"] == 0
    lifecycle.traffic.end()
    lifecycle.drain()
    now = 71.0
    assert (await client.get("/load")).json()["idleSeconds"] == 1


async def test_metrics_count_what_ran(
    client: httpx.AsyncClient, lifecycle: Lifecycle, metrics: Metrics, fake_model: Any
) -> None:
    metrics.show_model(fake_model.info, lambda: 17)
    metrics.show_ready(lambda: lifecycle.phase is Phase.READY)
    for failed in (False, True):
        metrics.count_batch(
            BatchRun(
                items=2,
                tokens={"": 6, "legal": 3},
                fill=0.5,
                device_seconds=0.75,
                queue_seconds=[("", 0.1), ("legal", 0.2)],
                failed=failed,
            )
        )
    metrics.count_tokenized("legal", 0.5)
    lines = set((await client.get("/metrics")).text.splitlines())
    assert lines >= {
        'kubeembed_build_info{version="1.2.3"} 1.0',
        'kubeembed_model_info{device="cpu",dtype="float32",fingerprint="f00d",model="minilm"} 1.0',
        "kubeembed_ready 0.0",
        "kubeembed_queue_tokens 17.0",
        'kubeembed_tokens_total{adapter=""} 6.0',
        'kubeembed_tokens_total{adapter="legal"} 3.0',
        "kubeembed_items_total 2.0",
        'kubeembed_batches_total{outcome="ok"} 1.0',
        'kubeembed_batches_total{outcome="failed"} 1.0',
        'kubeembed_device_seconds_total{adapter=""} 1.0',
        'kubeembed_device_seconds_total{adapter="legal"} 0.5',
        "kubeembed_batch_fill_sum 1.0",
        'kubeembed_queue_seconds_count{adapter=""} 2.0',
        'kubeembed_queue_seconds_sum{adapter="legal"} 0.4',
        'kubeembed_tokenize_seconds_count{adapter=""} 0.0',
        'kubeembed_tokenize_seconds_sum{adapter="legal"} 0.5',
    }
