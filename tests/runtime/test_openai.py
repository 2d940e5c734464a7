"""The OpenAI contract over the real application, with a fake model behind it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.body import MAX_BODY_BYTES
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.errors import (
    DeadlineExceeded,
    DeviceFailed,
    InvalidInput,
    OutOfMemory,
    QueueFull,
)
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.requests import Chunking

URL = "/v1/embeddings"
JSON = {"content-type": "application/json"}


async def test_the_reply_is_openai_s(client: httpx.AsyncClient) -> None:
    reply = await client.post(URL, json={"model": "minilm", "input": ["one", "three"]})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-kubeembed-fingerprint"] == "f00d"
    assert reply.json() == {
        "object": "list",
        "model": "minilm",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [3.0, 3.0, 3.0]},
            {"object": "embedding", "index": 1, "embedding": [5.0, 5.0, 5.0]},
        ],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ("one", ["one"]),
        (["one", "two"], ["one", "two"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
    ids=["text", "texts", "ids", "lists of ids"],
)
async def test_every_form_of_input_is_read(
    client: httpx.AsyncClient, fake_model: Any, sent: Any, wanted: Any
) -> None:
    reply = await client.post(URL, json={"model": "minilm", "input": sent, "user": "someone"})
    assert reply.status_code == 200
    assert [list(asked.inputs) for asked in fake_model.asked] == [wanted]


async def test_base64_is_little_endian_float32(client: httpx.AsyncClient) -> None:
    body = {"model": "minilm", "input": "four", "encoding_format": "base64", "dimensions": 2}
    reply = await client.post(URL, json=body)
    packed = base64.b64decode(reply.json()["data"][0]["embedding"])
    assert np.frombuffer(packed, "<f4").tolist() == [4.0, 4.0]


async def test_null_is_the_default(client: httpx.AsyncClient) -> None:
    empty = dict.fromkeys(("encoding_format", "dimensions", "user"))
    reply = await client.post(URL, json={"model": "minilm", "input": "a", **empty})
    assert reply.json()["data"][0]["embedding"] == [1.0, 1.0, 1.0]


async def test_a_chunk_has_a_vector_and_its_place(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    asked = {"tokens": 3, "overlap": 1}
    body = {"model": "minilm", "input": ["seven..", "one"], "chunking": asked, "dimensions": 1}
    reply = (await client.post(URL, json=body)).json()
    places = [(0, 0, 3), (0, 3, 6), (0, 6, 7), (1, 0, 3)]
    assert reply["data"] == [
        {
            "object": "embedding",
            "index": index,
            "embedding": [float(end - start)],
            "chunk": {"input": place, "start": start, "end": end},
        }
        for index, (place, start, end) in enumerate(places)
    ]
    assert [each.chunking for each in fake_model.asked] == [
        Chunking(tokens=3, overlap=1, most=2048)
    ]


async def test_the_mean_of_chunks_is_one_vector_for_each_input(client: httpx.AsyncClient) -> None:
    chunking = {"tokens": 3, "pooled": True}
    reply = await client.post(
        URL, json={"model": "minilm", "input": ["seven..", "one"], "chunking": chunking}
    )
    assert reply.json()["data"] == [
        {"object": "embedding", "index": 0, "embedding": [7.0, 7.0, 7.0]},
        {"object": "embedding", "index": 1, "embedding": [3.0, 3.0, 3.0]},
    ]


WRONG: dict[str, tuple[Any, str | None, str]] = {
    "no input": ({"model": "minilm"}, "input", "missing required field `input`"),
    "no model": ({"input": "a"}, "model", "missing required field `model`"),
    "empty text": ({"model": "minilm", "input": ""}, "input", "input 0 is an empty string"),
    "one empty": ({"model": "minilm", "input": ["a", ""]}, "input", "input 1 is an empty string"),
    "empty list": ({"model": "minilm", "input": []}, "input", "input is empty"),
    "empty ids": ({"model": "minilm", "input": [[1], []]}, "input", "input 1 has no token ids"),
    "mixed": ({"model": "minilm", "input": ["a", 1]}, "input", "mixes texts and token ids"),
    "nested": ({"model": "minilm", "input": [[[1]]]}, "input", "Expected `int`, got `array`"),
    "number": ({"model": "minilm", "input": 5}, "input", "Expected `str | array`, got `int`"),
    "fraction": ({"model": "minilm", "input": [1.5]}, "input", "got `float`"),
    "boolean": ({"model": "minilm", "input": [True]}, "input", "got `bool`"),
    "null": ({"model": "minilm", "input": None}, "input", "got `null`"),
    "object": ({"model": "minilm", "input": {"a": 1}}, "input", "got `object`"),
    "format": (
        {"model": "minilm", "input": "a", "encoding_format": "hex"},
        "encoding_format",
        "Invalid enum value 'hex'",
    ),
    "dimensions": (
        {"model": "minilm", "input": "a", "dimensions": "3"},
        "dimensions",
        "Expected `int | null`, got `str`",
    ),
    "user": ({"model": "minilm", "input": "a", "user": 5}, "user", "Expected `str | null`"),
    "unknown field": (
        {"model": "minilm", "input": "a", "input_type": "query"},
        "input_type",
        "unknown field `input_type`",
    ),
    "too many": (
        {"model": "minilm", "input": ["a"] * 2049},
        "input",
        "input has 2049 entries; at most 2048",
    ),
    "chunks of what": (
        {"model": "minilm", "input": "a", "chunking": {"overlap": 1}},
        "chunking",
        "missing required field `tokens`",
    ),
    "chunks by characters": (
        {"model": "minilm", "input": "a", "chunking": {"tokens": 8, "characters": 100}},
        "chunking",
        "unknown field `characters`",
    ),
    "chunks, cut": (
        {"model": "minilm", "input": "a", "chunking": {"tokens": 8}, "truncate_prompt_tokens": 9},
        "chunking",
        "chunks are of the whole text; leave out truncate_prompt_tokens and truncation_side",
    ),
    "no object": ([], None, "Expected `object`, got `array`"),
}


@pytest.mark.parametrize(("body", "param", "said"), WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_body_is_refused_with_the_field_and_the_fix(
    client: httpx.AsyncClient, fake_model: Any, body: Any, param: str | None, said: str
) -> None:
    reply = await client.post(URL, json=body)
    error = reply.json()["error"]
    assert reply.status_code == 400
    assert said in error.pop("message")
    assert error == {"type": "invalid_request_error", "param": param, "code": None}
    assert fake_model.asked == []


@pytest.mark.parametrize(
    "asked", ["other", "minilm:legal", "minilm:", "", "Minilm", ":minilm"], ids=repr
)
async def test_an_unknown_model_or_adapter_is_never_answered_with_base_vectors(
    client: httpx.AsyncClient, fake_model: Any, asked: str
) -> None:
    fake_model.adapters = ("medical",)
    reply = await client.post(URL, json={"model": asked, "input": "a"})
    assert reply.status_code == 404
    assert reply.json() == {
        "error": {
            "message": f"model {asked!r} is not served here; have: minilm, minilm:medical",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }
    assert fake_model.asked == []


async def test_a_known_adapter_reaches_the_model(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    fake_model.adapters = ("medical",)
    reply = await client.post(URL, json={"model": "minilm:medical", "input": "a"})
    assert reply.json()["model"] == "minilm:medical"
    assert [asked.adapter for asked in fake_model.asked] == ["medical"]


FAILURES: dict[str, tuple[Exception, int, str, str | None, str | None]] = {
    "dimensions": (
        InvalidInput("dimensions", "no"),
        400,
        "invalid_request_error",
        "dimensions",
        None,
    ),
    "too many tokens": (
        InvalidInput("inputs", "no", "max_tokens_per_request"),
        400,
        "invalid_request_error",
        "input",
        "max_tokens_per_request",
    ),
    "full": (QueueFull(9, 10, 6.6), 429, "rate_limit_error", None, "queue_full"),
    "late": (DeadlineExceeded("no"), 504, "server_error", None, "deadline_exceeded"),
    "chunks": (InvalidInput("chunking", "no"), 400, "invalid_request_error", "chunking", None),
    "device": (DeviceFailed("no"), 500, "server_error", None, "device_failed"),
    "memory": (OutOfMemory("no"), 503, "server_error", None, "out_of_memory"),
    "unforeseen": (ZeroDivisionError("secret"), 500, "server_error", None, None),
}


@pytest.mark.parametrize(
    ("failure", "status", "kind", "param", "code"), FAILURES.values(), ids=FAILURES.keys()
)
async def test_every_failure_of_the_model_has_its_status(
    client: httpx.AsyncClient,
    fake_model: Any,
    failure: Exception,
    status: int,
    kind: str,
    param: str | None,
    code: str | None,
) -> None:
    fake_model.failure = failure
    reply = await client.post(URL, json={"model": "minilm", "input": "a"})
    error = reply.json()["error"]
    assert reply.status_code == status
    assert (error["type"], error["param"], error["code"]) == (kind, param, code)
    assert "secret" not in error["message"]
    assert reply.headers.get("retry-after") == ("7" if status == 429 else None)


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b'{"model": "minilm", "input": "a"', JSON, 400, "invalid_json"),
        (b"", JSON, 400, "invalid_json"),
        (b'{"model": "minilm", "input": "\xff"}', JSON, 400, "invalid_json"),
        (rb'{"model": "minilm", "input": "\ud800"}', JSON, 400, "invalid_json"),
        (
            b"model=minilm",
            {"content-type": "application/x-www-form-urlencoded"},
            415,
            "unsupported_media_type",
        ),
        (b" " * (MAX_BODY_BYTES + 1), JSON, 413, "request_too_large"),
        (b"[" * 100_000, JSON, 400, None),
    ],
    ids=["cut", "empty", "no utf-8", "surrogate", "form", "too large", "deep"],
)
async def test_a_body_that_cannot_be_read_is_refused_in_the_same_shape(
    client: httpx.AsyncClient,
    content: bytes,
    headers: dict[str, str],
    status: int,
    code: str | None,
) -> None:
    reply = await client.post(URL, content=content, headers=headers)
    error = reply.json()["error"]
    assert reply.status_code == status
    assert error["type"] == "invalid_request_error"
    assert error["code"] == code


async def test_the_limit_on_the_body_is_told(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 1024 * 1024

    reply = await client.post(URL, content=endless(), headers=JSON)
    assert reply.status_code == 413
    assert "larger than 16777216 bytes" in reply.json()["error"]["message"]


async def test_a_body_without_a_content_type_is_taken_for_json(client: httpx.AsyncClient) -> None:
    reply = await client.post(URL, content=b'{"model": "minilm", "input": "a"}')
    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", URL, 405), ("POST", "/v1/chat/completions", 404), ("GET", "/docs/none", 404)],
    ids=["method", "other api", "nothing"],
)
async def test_a_path_that_is_not_served_is_refused_in_the_same_shape(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    reply = await client.request(method, path)
    assert reply.status_code == status
    assert f"{method} {path} is not served here" in reply.json()["error"]["message"]


async def test_a_model_that_is_loading_says_when_to_come_back(metrics: Metrics) -> None:
    transport = httpx.ASGITransport(public_app(Lifecycle("minilm"), metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        reply = await client.post(URL, json={"model": "minilm", "input": "a"})
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "2"
    assert reply.json()["error"]["code"] == "model_loading"
    assert "x-kubeembed-fingerprint" not in reply.headers


@pytest.mark.parametrize("sent", ["soon", "-1", "0", "nan", "1e9"])
async def test_a_timeout_that_is_no_time_is_refused(client: httpx.AsyncClient, sent: str) -> None:
    headers = {"x-request-timeout": sent}
    reply = await client.post(URL, json={"model": "minilm", "input": "a"}, headers=headers)
    assert reply.status_code == 400
    assert "send seconds" in reply.json()["error"]["message"]


async def test_a_timeout_becomes_a_deadline(client: httpx.AsyncClient, fake_model: Any) -> None:
    for headers in ({"x-request-timeout": "2.5"}, {}):
        await client.post(URL, json={"model": "minilm", "input": "a"}, headers=headers)
    first, second = (asked.deadline for asked in fake_model.asked)
    assert first > 2.5
    assert second is None


async def test_a_client_that_leaves_cancels_its_request(
    lifecycle: Lifecycle, metrics: Metrics, fake_model: Any
) -> None:
    fake_model.gate = asyncio.Event()
    body = json.dumps({"model": "minilm", "input": "a"}).encode()
    messages = [
        {"type": "http.request", "body": body, "more_body": False},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        if len(messages) == 1:
            while not fake_model.asked:
                await asyncio.sleep(0)
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": URL,
        "headers": [(b"content-type", b"application/json")],
        "query_string": b"",
    }
    await public_app(lifecycle, metrics)(scope, receive, send)
    await asyncio.sleep(0)
    assert fake_model.cancelled == 1
    assert sent[0]["status"] == 499
    assert 'kubeembed_requests_total{contract="openai",status="499"} 1.0' in metrics.text().decode()


async def test_requests_are_counted_by_contract_and_status(
    client: httpx.AsyncClient, metrics: Metrics
) -> None:
    for asked in ("minilm", "minilm", "other"):
        await client.post(URL, json={"model": asked, "input": "a"})
    text = metrics.text().decode()
    assert 'kubeembed_requests_total{contract="openai",status="200"} 2.0' in text
    assert 'kubeembed_requests_total{contract="openai",status="404"} 1.0' in text
    assert 'kubeembed_request_seconds_count{contract="openai"} 3.0' in text


@pytest.mark.parametrize(
    ("sent", "max_tokens", "truncate"),
    [
        ({}, None, None),
        ({"truncate_prompt_tokens": -1}, None, "right"),
        ({"truncate_prompt_tokens": 7}, 7, "right"),
        ({"truncate_prompt_tokens": 256, "truncation_side": "left"}, 256, "left"),
        ({"truncation_side": "left"}, None, "left"),
    ],
    ids=str,
)
async def test_vllm_s_words_for_truncation_reach_the_model(
    client: httpx.AsyncClient, fake_model: Any, sent: Any, max_tokens: Any, truncate: Any
) -> None:
    reply = await client.post(URL, json={"model": "minilm", "input": "a", **sent})
    assert reply.status_code == 200
    (asked,) = fake_model.asked
    assert (asked.max_tokens, asked.truncate) == (max_tokens, truncate)


@pytest.mark.parametrize("tokens", [-2, 0, 257])
async def test_more_tokens_than_the_model_reads_cannot_be_asked_for(
    client: httpx.AsyncClient, tokens: int
) -> None:
    body = {"model": "minilm", "input": "a", "truncate_prompt_tokens": tokens}
    reply = await client.post(URL, json=body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["param"] == "truncate_prompt_tokens"
    assert f"is {tokens}; minilm reads 1 to 256" in error["message"]
