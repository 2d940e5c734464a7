"""GET /load/NAMESPACE/NAME on the operator's port: numbers, and errors that are none."""

import json
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.scaling import Target
from kubeembed_operator import probes
from kubeembed_operator.cluster import Unreachable
from kubeembed_operator.kedafigures import Asked, NotThere, TooMany
from kubeembed_operator.manifests.keda import scaled_object
from kubeembed_operator.metrics import Metrics
from runtimekit import free_ports


class Figures:
    """Answers with 150, or raises what a test says."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.error: Exception | None = None

    async def __call__(self, asked: Asked) -> float:
        self.asked.append(asked)
        if self.error is not None:
            raise self.error
        return 150.00049


@pytest.fixture
def figures() -> Figures:
    return Figures()


@pytest.fixture
async def url(figures: Figures) -> AsyncIterator[str]:
    (port,) = free_ports(1)
    server = await probes.serve(Metrics(), _well, _well, figures, host="127.0.0.1", port=port)
    yield f"http://127.0.0.1:{port}"
    await server.cleanup()


def _well() -> None:
    return None


async def ask(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as got:
        return got.status, await got.text()


async def test_the_address_of_a_scaled_object_is_answered(
    url: str, figures: Figures, model: Callable[..., EmbeddingModel]
) -> None:
    scaling = {"mode": "KEDA", "min": 0, "target": {"utilization": 60, "queueSeconds": 0.25}}
    [trigger] = scaled_object(model(scaling=scaling), url)["spec"]["triggers"]
    status, text = await ask(trigger["metadata"]["url"])
    assert (status, json.loads(text)) == (200, {"load": 150.0})
    target = Target(utilization=60, queue_seconds=0.25)
    assert figures.asked == [Asked(key=("search", "minilm"), target=target, idle_seconds=600.0)]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("search/mini_lm", "name: 'mini_lm' is no name"),
        ("..%2F..%2Fkube-system/minilm", "namespace: '../../kube-system' is no name"),
        ("search/minilm?utilization=0", "utilization: "),
        ("search/minilm?queueSeconds=soon", "queueSeconds: "),
        ("search/minilm?idleSeconds=10m", "idleSeconds: '10m' is no whole number"),
        ("search/minilm?target=70", "target: unknown; have utilization"),
    ],
)
async def test_what_is_wrong_is_said(url: str, figures: Figures, path: str, told: str) -> None:
    status, text = await ask(f"{url}/load/{path}")
    assert (status, text[: len(told)]) == (400, told)
    assert figures.asked == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotThere("search/minilm has no Deployment"), 404),
        (Unreachable("list Pod", 0, "no route"), 503),
        (TooMany("ask again later"), 503),
    ],
)
async def test_what_is_not_known_is_an_error(
    url: str, figures: Figures, error: Exception, status: int
) -> None:
    figures.error = error
    assert await ask(f"{url}/load/search/minilm") == (status, str(error))


async def test_without_keda_there_is_no_such_address() -> None:
    (port,) = free_ports(1)
    server = await probes.serve(Metrics(), _well, _well, host="127.0.0.1", port=port)
    status, _ = await ask(f"http://127.0.0.1:{port}/load/search/minilm")
    await server.cleanup()
    assert status == 404
