"""/health: for load balancers, and with the fields that TEI's and SIE's clients read."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from kubeembed_runtime.lifecycle import Lifecycle


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle("minilm")


@pytest.mark.parametrize(("device", "gpus"), [("cpu", []), ("cuda", ["cuda"])])
async def test_a_ready_model_is_a_gateway_with_one_worker(
    client: httpx.AsyncClient,
    lifecycle: Lifecycle,
    fake_model: Any,
    device: str,
    gpus: list[str],
) -> None:
    fake_model.info = fake_model.info.model_copy(update={"device": device})
    lifecycle.ready(fake_model)
    reply = await client.get("/health")
    assert reply.status_code == 200
    for path in ("/ping", "/"):
        assert (await client.get(path)).content == reply.content
    assert reply.json() == {
        "status": "healthy",
        "type": "gateway",
        "configured_gpu_types": gpus,
        "live_gpu_types": gpus,
        "cluster": {"worker_count": 1, "gpu_count": len(gpus), "models_loaded": 1},
        "workers": [
            {
                "name": "minilm",
                "url": "",
                "gpu": device,
                "gpu_count": len(gpus),
                "ready_gpu_slots": len(gpus),
                "healthy": True,
                "loaded_models": ["minilm"],
                "bundle": "default",
            }
        ],
    }


def _loading(lifecycle: Lifecycle, model: Any) -> None:
    pass


def _draining(lifecycle: Lifecycle, model: Any) -> None:
    lifecycle.ready(model)
    lifecycle.drain()


def _dead(lifecycle: Lifecycle, model: Any) -> None:
    lifecycle.ready(model)
    model.alive = False


@pytest.mark.parametrize("path", ["/health", "/ping", "/"])
@pytest.mark.parametrize(
    ("become", "status"),
    [(_loading, "loading"), (_draining, "draining"), (_dead, "failed")],
    ids=["loading", "draining", "dead"],
)
async def test_traffic_is_sent_elsewhere_unless_ready(
    client: httpx.AsyncClient,
    lifecycle: Lifecycle,
    fake_model: Any,
    become: Callable[[Lifecycle, Any], None],
    status: str,
    path: str,
) -> None:
    become(lifecycle, fake_model)
    reply = await client.get(path)
    assert reply.status_code == 503
    assert reply.json() == {
        "error": "unhealthy",
        "error_type": "Unhealthy",
        "status": status,
        "type": "gateway",
    }
