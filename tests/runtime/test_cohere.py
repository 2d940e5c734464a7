"""Cohere's embed contract over the real application, with a fake model behind it."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from kubeembed_runtime.errors import (
    DeadlineExceeded,
    DeviceFailed,
    InvalidInput,
    OutOfMemory,
    QueueFull,
)

BODY = {"model": "minilm", "input_type": "search_query", "texts": ["one", "three"]}


async def test_the_reply_of_v2(client: httpx.AsyncClient) -> None:
    reply = (await client.post("/v2/embed", json=BODY)).json()
    assert len(reply.pop("id")) == 32
    assert reply == {
        "embeddings": {"float": [[3.0, 3.0, 3.0], [5.0, 5.0, 5.0]]},
        "texts": ["one", "three"],
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"input_tokens": 8},
            "tokens": {"input_tokens": 8},
        },
    }


async def test_the_reply_of_v1_is_a_list_unless_types_are_asked_for(
    client: httpx.AsyncClient,
) -> None:
    reply = (await client.post("/v1/embed", json={"texts": ["one"]})).json()
    assert (reply["response_type"], reply["embeddings"]) == ("embeddings_floats", [[3.0] * 3])
    typed = await client.post("/v1/embed", json={"texts": ["a"], "embedding_types": ["ubinary"]})
    assert typed.json()["response_type"] == "embeddings_by_type"
    assert typed.json()["embeddings"] == {"ubinary": [[0b11100000]]}


async def test_types_come_together_with_the_scales_that_restore_them(
    client: httpx.AsyncClient,
) -> None:
    types = ["float", "base64", "int8", "uint8", "binary", "ubinary"]
    reply = await client.post("/v2/embed", json={**BODY, "embedding_types": types})
    made, scales = reply.json()["embeddings"], reply.json()["scales"]
    assert list(made) == types
    assert np.frombuffer(base64.b64decode(made["base64"][1]), "<f4").tolist() == [5.0] * 3
    assert made["int8"] == [[127] * 3] * 2
    assert 127 * scales["int8"][1]["scale"] == pytest.approx(5.0)
    restored = made["uint8"][1][0] * scales["uint8"][1]["scale"] + scales["uint8"][1]["offset"]
    assert restored == pytest.approx(5.0)
    assert (made["binary"], made["ubinary"]) == ([[0b1100000]] * 2, [[0b11100000]] * 2)


@pytest.mark.parametrize(
    ("sent", "side"),
    [
        ("search_query", "query"),
        ("search_document", "document"),
        ("classification", None),
        ("clustering", None),
    ],
)
async def test_the_input_type_is_the_side(
    client: httpx.AsyncClient, fake_model: Any, sent: str, side: str | None
) -> None:
    more = {"input_type": sent, "truncate": "START", "output_dimension": 2, "max_tokens": 9}
    assert (await client.post("/v2/embed", json={**BODY, **more})).status_code == 200
    (asked,) = fake_model.asked
    assert (asked.prompting.side, asked.truncate, asked.dimensions) == (side, "left", 2)
    assert asked.max_tokens == 9


async def test_inputs_in_parts(client: httpx.AsyncClient) -> None:
    parts = [{"content": [{"type": "text", "text": "four"}]}]
    body = {"model": "minilm", "input_type": "search_query", "inputs": parts}
    assert (await client.post("/v2/embed", json=body)).json()["embeddings"]["float"] == [[4.0] * 3]


@pytest.mark.parametrize(
    ("change", "status", "problem"),
    [
        ({"texts": []}, 400, "`texts` is empty"),
        ({"texts": ["a", ""]}, 400, "text 1 is empty"),
        ({"texts": ["a"] * 2049}, 400, "at most 2048"),
        ({"texts": None}, 400, "either `texts` or `inputs`"),
        ({"input_type": "image"}, 400, "'image'"),
        ({"embedding_types": ["int4"]}, 400, "'int4'"),
        ({"colour": "red"}, 400, "unknown field `colour`"),
        ({"model": "other"}, 404, "'other' is not served here; have: minilm"),
    ],
    ids=str,
)
async def test_a_wrong_body_is_refused_in_cohere_s_words(
    client: httpx.AsyncClient, change: Any, status: int, problem: str
) -> None:
    reply = await client.post("/v2/embed", json={**BODY, **change})
    assert reply.status_code == status
    assert problem in reply.json()["message"]


@pytest.mark.parametrize("path", ["/v2/embed", "/v1/embed"])
@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (InvalidInput("inputs", "too long"), 400),
        (QueueFull(9, 9, 2.0), 429),
        (OutOfMemory("full"), 503),
        (DeadlineExceeded("late"), 504),
        (DeviceFailed("it broke"), 500),
        (RuntimeError("nobody foresaw"), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_what_fails_has_cohere_s_status(
    client: httpx.AsyncClient, fake_model: Any, path: str, failure: Exception, status: int
) -> None:
    fake_model.failure = failure
    body = BODY if path == "/v2/embed" else {"texts": ["a"]}
    reply = await client.post(path, json=body)
    assert reply.status_code == status
    assert set(reply.json()) == {"message", "error_type"}
    assert ("retry-after" in reply.headers) == (status == 429)
    assert "nobody foresaw" not in reply.text


async def test_what_is_no_json(client: httpx.AsyncClient) -> None:
    media = {"content-type": "application/json"}
    reply = await client.post("/v2/embed", content=b"{", headers=media)
    assert (reply.status_code, reply.json()["error_type"]) == (400, "invalid_json")
