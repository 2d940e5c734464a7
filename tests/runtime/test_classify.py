"""POST /classify over the real application, with a fake model behind it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.lifecycle import Lifecycle


@pytest.fixture
async def client(fake_model: Any) -> AsyncIterator[httpx.AsyncClient]:
    told = {"outputs": ("score",), "labels": ("joy",)}
    fake_model.info = fake_model.info.model_copy(update=told)
    lifecycle = Lifecycle("minilm")
    lifecycle.ready(fake_model)
    transport = httpx.ASGITransport(public_app(lifecycle, Metrics("0")))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        yield client


async def test_each_text_has_its_labels(client: httpx.AsyncClient) -> None:
    body = {"model": "minilm", "input": ["a", "aaa"], "raw_scores": True}
    reply = (await client.post("/classify", json=body)).json()
    assert reply["data"] == [
        [{"score": pytest.approx(0.1), "label": "joy"}],
        [{"score": pytest.approx(0.3), "label": "joy"}],
    ]
    assert (reply["object"], reply["usage"]["total_tokens"]) == ("classify", 4)
    (only,) = (await client.post("/classify", json={"input": "a"})).json()["data"]
    assert only == [{"score": pytest.approx(0.5249792), "label": "joy"}]


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ({"input": []}, 400, "input is empty"),
        ({"input": ["a", ""]}, 400, "input 1 is an empty string"),
        ({"input": "a", "model": "other"}, 404, "have: minilm"),
        ({"text": "a"}, 400, "unknown field `text`"),
    ],
    ids=str,
)
async def test_a_wrong_body_is_refused(
    client: httpx.AsyncClient, body: Any, status: int, problem: str
) -> None:
    reply = await client.post("/classify", json=body)
    assert (reply.status_code, problem in reply.json()["error"]["message"]) == (status, True)


async def test_a_model_without_labels_says_what_it_gives(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    fake_model.failure = InvalidInput("outputs", "minilm gives no score; it gives dense")
    reply = await client.post("/classify", json={"input": "a"})
    assert (reply.status_code, "it gives dense" in reply.text) == (400, True)
