"""TEI's contract over the real application, with a fake model behind it."""

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
from kubeembed_runtime.requests import Pair

VECTOR = [3.0, 3.0, 3.0]


def gives(fake_model: Any, *outputs: str, **info: Any) -> None:
    told = {"outputs": outputs, **info}
    fake_model.info = fake_model.info.model_copy(update=told)


@pytest.mark.parametrize("path", ["/embed", "/", "/invocations"])
@pytest.mark.parametrize(
    ("inputs", "vectors"),
    [
        ("one", [VECTOR]),
        (["one", "two"], [VECTOR, VECTOR]),
        ([5, 6, 7], [VECTOR]),
        ([[5, 6, 7], [8, 9, 1]], [VECTOR, VECTOR]),
    ],
    ids=["text", "texts", "ids", "lists of ids"],
)
async def test_vectors_are_always_nested(
    client: httpx.AsyncClient, path: str, inputs: Any, vectors: Any
) -> None:
    reply = await client.post(path, json={"inputs": inputs})
    assert (reply.status_code, reply.json()) == (200, vectors)
    assert reply.headers["x-compute-tokens"] == str(3 * len(vectors))
    assert reply.headers["x-compute-characters"] == str(3 * len(vectors))
    assert {"x-total-time", "x-queue-time", "x-inference-time"} < set(reply.headers)


@pytest.mark.parametrize(
    ("sent", "truncate"),
    [
        ({}, None),
        ({"truncate": True}, "right"),
        ({"truncate": False}, "refuse"),
        ({"truncate": True, "truncation_direction": "Left"}, "left"),
        ({"truncation_direction": "right"}, "right"),
    ],
    ids=str,
)
async def test_what_is_asked_for_reaches_the_model(
    client: httpx.AsyncClient, fake_model: Any, sent: Any, truncate: Any
) -> None:
    more = {"normalize": False, "dimensions": 2, "prompt_name": "query"}
    assert (await client.post("/embed", json={"inputs": "a", **more, **sent})).json() == [[1.0, 1]]
    (asked,) = fake_model.asked
    assert (asked.normalize, asked.dimensions, asked.truncate) == (False, 2, truncate)
    assert asked.prompting.prompt_name == "query"
    assert (await client.post("/embed", json={"inputs": "a"})).status_code == 200
    assert fake_model.asked[1].normalize is True


async def test_states_and_sparse_vectors(client: httpx.AsyncClient) -> None:
    states = await client.post("/embed_all", json={"inputs": ["ab"]})
    assert states.json() == [[[0.5, 0.5], [0.5, 0.5]]]
    sparse = await client.post("/embed_sparse", json={"inputs": "ab"})
    assert sparse.json() == [[{"index": 0, "value": 0.5}, {"index": 1, "value": 0.5}]]


@pytest.mark.parametrize("path", ["/rerank", "/"])
async def test_texts_are_ranked_best_first(
    client: httpx.AsyncClient, fake_model: Any, path: str
) -> None:
    gives(fake_model, "score")
    body = {"query": "q", "texts": ["a", "a" * 20, "aa"], "return_text": True, "raw_scores": True}
    assert (await client.post(path, json=body)).json() == [
        {"index": 1, "score": 2.0, "text": "a" * 20},
        {"index": 2, "score": pytest.approx(0.2), "text": "aa"},
        {"index": 0, "score": pytest.approx(0.1), "text": "a"},
    ]
    reply = await client.post(path, json={"query": "q", "texts": ["a" * 20]})
    assert reply.json() == [{"index": 0, "score": pytest.approx(1 / (1 + np.exp(-2)))}]


async def test_a_flat_list_is_a_pair_and_a_nested_one_a_batch(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    gives(fake_model, "score", labels=("yes",))
    one = {"label": "yes", "score": pytest.approx(0.3)}
    raw = {"raw_scores": True}
    assert (await client.post("/predict", json={"inputs": "abc", **raw})).json() == [one]
    assert (await client.post("/predict", json={"inputs": ["ab", "c"], **raw})).json() == [one]
    assert fake_model.asked[-1].inputs == [Pair("ab", "c")]
    batch = {"inputs": [["abc"], ["ab", "c"]], **raw}
    assert (await client.post("/predict", json=batch)).json() == [[one], [one]]
    assert (await client.post("/", json={"inputs": "abc"})).json()[0]["score"] > 0.5


async def test_similarity_is_a_cosine_per_sentence(client: httpx.AsyncClient) -> None:
    inputs = {"source_sentence": "a", "sentences": ["b", "cc"]}
    for path in ("/similarity", "/"):
        reply = await client.post(path, json={"inputs": inputs, "parameters": {"truncate": True}})
        assert reply.json() == [3.0, 6.0]  # the fake model normalises nothing


async def test_tokens_and_back(client: httpx.AsyncClient) -> None:
    reply = await client.post("/tokenize", json={"inputs": "hi", "add_special_tokens": True})
    special = {"id": 0, "text": "[CLS]", "special": True, "start": None, "stop": None}
    first = {"id": 104, "text": "h", "special": False, "start": 0, "stop": 1}
    assert reply.json()[0][:2] == [special, first]
    assert (await client.post("/decode", json={"ids": [104, 105]})).json() == ["hi"]
    assert (await client.post("/decode", json={"ids": [[104], [105]]})).json() == ["h", "i"]


async def test_info_tells_model_and_limits(client: httpx.AsyncClient, fake_model: Any) -> None:
    told = (await client.get("/info")).json()
    assert told["model_type"] == {"embedding": {"pooling": "mean"}}
    assert (told["max_input_length"], told["max_client_batch_size"]) == (256, 2048)
    gives(fake_model, "score", output_dimensions={"score": 2}, labels=("no", "yes"))
    told = (await client.get("/info")).json()
    labels = {"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}}
    assert told["model_type"] == {"classifier": labels}


async def test_an_adapter_has_its_own_field_and_an_unknown_one_is_refused(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    fake_model.adapters = ("legal",)
    assert (await client.post("/embed", json={"inputs": "a", "model": "minilm:legal"})).is_success
    assert fake_model.asked[0].adapter == "legal"
    reply = await client.post("/embed", json={"inputs": "a", "model": "minilm:tax"})
    assert reply.status_code == 404
    assert "have: minilm, minilm:legal" in reply.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "problem"),
    [
        ("/embed", {"inputs": ""}, 400, "Empty", "empty text"),
        ("/embed", {"inputs": []}, 400, "Empty", "`inputs` cannot be empty"),
        ("/rerank", {"query": "q", "texts": []}, 400, "Empty", "`texts` cannot be empty"),
        ("/embed", {"inputs": ["a"] * 2049}, 422, "Validation", "at most 2048"),
        ("/embed", {"inputs": ["a", [1]]}, 422, "Validation", "mixes texts and token ids"),
        ("/embed", {"inputs": 5}, 422, "Validation", "inputs"),
        ("/embed", {"input": "a"}, 422, "Validation", "unknown field `input`"),
        ("/embed", {"inputs": "a", "truncation_direction": "up"}, 422, "Validation", "'up'"),
        ("/predict", {"inputs": ["a", "b", "c"]}, 422, "Validation", "3 texts"),
        ("/decode", {"ids": [1, [2]]}, 422, "Validation", "one kind"),
        ("/tokenize", {"inputs": []}, 400, "Empty", "cannot be empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_wrong_body_is_refused_in_tei_s_words(
    client: httpx.AsyncClient, path: str, body: Any, status: int, kind: str, problem: str
) -> None:
    reply = await client.post(path, json=body)
    assert (reply.status_code, reply.json()["error_type"]) == (status, kind)
    assert problem in reply.json()["error"]
    assert set(reply.json()) == {"error", "error_type"}


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (InvalidInput("inputs", "too long"), 422, "Validation"),
        (InvalidInput("prompt", "no such prompt"), 422, "Validation"),
        (InvalidInput("dimensions", "1 to 3"), 422, "Validation"),
        (InvalidInput("outputs", "gives no sparse"), 424, "Backend"),
        (DeviceFailed("it broke"), 424, "Backend"),
        (QueueFull(9, 9, 2.0), 429, "Overloaded"),
        (OutOfMemory("full"), 503, "Backend"),
        (DeadlineExceeded("late"), 504, "Backend"),
        (RuntimeError("nobody foresaw"), 500, "Backend"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_what_fails_has_tei_s_status(
    client: httpx.AsyncClient, fake_model: Any, failure: Exception, status: int, kind: str
) -> None:
    fake_model.failure = failure
    reply = await client.post("/embed", json={"inputs": "a"})
    assert (reply.status_code, reply.json()["error_type"]) == (status, kind)
    assert ("retry-after" in reply.headers) == (status == 429)
    assert "nobody foresaw" not in reply.text


@pytest.mark.parametrize(
    ("content", "media", "status"),
    [
        (b"{", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b" " * (MAX_BODY_BYTES + 1), "application/json", 413),
    ],
    ids=["no JSON", "no JSON by its type", "too large"],
)
async def test_what_cannot_be_read(
    client: httpx.AsyncClient, content: bytes, media: str, status: int
) -> None:
    reply = await client.post("/embed", content=content, headers={"content-type": media})
    assert (reply.status_code, reply.json()["error_type"]) == (status, "Validation")


async def test_a_model_that_loads_is_unhealthy() -> None:
    transport = httpx.ASGITransport(public_app(Lifecycle("minilm"), Metrics("0")))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        reply = await client.post("/embed", json={"inputs": "a"})
    assert (reply.status_code, reply.json()["error_type"]) == (503, "Unhealthy")
    assert reply.headers["retry-after"] == "2"
