"""Every error that a request can come to, in the words of the paths that share Cohere's, and of /classify."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.body import MAX_BODY_BYTES
from kubeembed_runtime.api.edge import Edge, Keys
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.errors import (
    AdapterRefused,
    DeadlineExceeded,
    DeviceFailed,
    InvalidInput,
    OutOfMemory,
    QueueFull,
)
from kubeembed_runtime.lifecycle import Lifecycle

RERANK = {"query": "q", "documents": ["a"]}
BODIES: dict[str, dict[str, Any]] = {
    "/v2/embed": {"model": "minilm", "input_type": "search_query", "texts": ["a"]},
    "/v1/embed": {"texts": ["a"]},
    "/v2/rerank": RERANK,
    "/v1/rerank": RERANK,
    "/rerank": RERANK,
    "/classify": {"input": ["a"]},
}
KEY = {"authorization": "Bearer key"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle("minilm")


@pytest.fixture
async def client(lifecycle: Lifecycle, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Of a server that asks for a key and is still loading."""
    (tmp_path / "keys").write_text("key\n")
    edge = Edge(keys=Keys(tmp_path / "keys"))
    transport = httpx.ASGITransport(public_app(lifecycle, Metrics("0"), edge))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://minilm", headers=KEY
    ) as client:
        yield client


def said(reply: httpx.Response) -> tuple[str, str]:
    """The sentence and the code of an error, from nothing but the contract's fields."""
    answer = reply.json()
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    if reply.request.url.path == "/classify":
        assert set(answer) == {"error"}
        assert set(answer["error"]) == {"message", "type", "param", "code"}
        return answer["error"]["message"], answer["error"]["code"]
    assert set(answer) == {"message", "error_type"}
    return answer["message"], answer["error_type"]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("failure", "status", "code", "retry_after"),
    [
        (InvalidInput("inputs", "too long", "input_too_long"), 400, "input_too_long", None),
        (AdapterRefused("has use_dora true"), 503, "adapter_unavailable", None),
        (QueueFull(9, 9, 2.0), 429, "queue_full", "2"),
        (OutOfMemory("full"), 503, "out_of_memory", None),
        (DeadlineExceeded("late"), 504, "deadline_exceeded", None),
        (DeviceFailed("it broke"), 500, "device_failed", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_what_fails_in_the_model(
    client: httpx.AsyncClient,
    lifecycle: Lifecycle,
    fake_model: Any,
    path: str,
    failure: Exception,
    status: int,
    code: str,
    retry_after: str | None,
) -> None:
    fake_model.failure = failure
    lifecycle.ready(fake_model)
    reply = await client.post(path, json=BODIES[path])
    assert (reply.status_code, reply.headers.get("retry-after")) == (status, retry_after)
    assert said(reply) == (str(failure), code)


@pytest.mark.parametrize("path", BODIES)
async def test_what_nobody_foresaw_says_nothing_of_itself(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any, path: str
) -> None:
    fake_model.failure = ZeroDivisionError("of a text")
    lifecycle.ready(fake_model)
    reply = await client.post(path, json=BODIES[path])
    assert (reply.status_code, said(reply)[0]) == (500, "the server failed on this request")


@pytest.mark.parametrize("path", BODIES)
async def test_a_model_that_loads_says_when_to_come_back(
    client: httpx.AsyncClient, path: str
) -> None:
    reply = await client.post(path, json=BODIES[path])
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
    assert said(reply)[1] == "model_loading"


REFUSED: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "no key": (b"{}", {"authorization": ""}, 401, "invalid_api_key"),
    "another key": (b"{}", {"authorization": "Bearer other"}, 401, "invalid_api_key"),
    "another fingerprint": (b"{}", {"if-fingerprint-match": "beef"}, 412, "fingerprint_mismatch"),
    "too large": (b" " * (MAX_BODY_BYTES + 1), {}, 413, "request_too_large"),
    "no JSON by its type": (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
    "no JSON": (b"{", {}, 400, "invalid_json"),
    "no text": (b"\xff\xfe", {}, 400, "invalid_json"),
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("content", "headers", "status", "code"), REFUSED.values(), ids=REFUSED.keys()
)
async def test_what_is_refused_before_it_is_read(
    client: httpx.AsyncClient,
    lifecycle: Lifecycle,
    fake_model: Any,
    path: str,
    content: bytes,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    lifecycle.ready(fake_model)
    reply = await client.post(path, content=content, headers={**JSON, **headers})
    assert (reply.status_code, said(reply)[1]) == (status, code)
    assert "retry-after" not in reply.headers


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000], ids=["lists", "objects"])
async def test_a_body_that_is_nested_deeply_is_no_failure_of_the_server(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any, path: str, content: bytes
) -> None:
    lifecycle.ready(fake_model)
    reply = await client.post(path, content=content, headers=JSON)
    assert (reply.status_code, bool(said(reply)[0])) == (400, True)


@pytest.mark.parametrize("path", BODIES)
async def test_a_model_that_is_not_served(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any, path: str
) -> None:
    lifecycle.ready(fake_model)
    reply = await client.post(path, json={**BODIES[path], "model": "minilm:legal"})
    assert reply.status_code == 404
    assert said(reply) == (
        "model 'minilm:legal' is not served here; have: minilm",
        "model_not_found",
    )
