"""Every error that a TEI server has, and those that only we have: status, error_type, sentence, headers."""

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
    NotFinite,
    OutOfMemory,
    QueueFull,
)
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.prompts import Prompts

ONE: dict[str, dict[str, Any]] = {
    "/embed": {"inputs": "a"},
    "/embed_all": {"inputs": "a"},
    "/embed_sparse": {"inputs": "a"},
    "/predict": {"inputs": "a"},
    "/rerank": {"query": "q", "texts": ["a"]},
    "/similarity": {"inputs": {"source_sentence": "a", "sentences": ["b"]}},
    "/tokenize": {"inputs": "a"},
    "/decode": {"ids": [1]},
    "/": {"inputs": "a"},
    "/invocations": {"inputs": "a"},
    "/vertex": {"instances": [{"inputs": "a"}]},
}
JSON = {"content-type": "application/json"}


def said(reply: httpx.Response) -> tuple[int, str, str]:
    """Status, kind and sentence, from nothing but the contract's fields."""
    answer = reply.json()
    assert set(answer) == {"error", "error_type"}
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    return reply.status_code, answer["error_type"], answer["error"]


SENTENCES = {"source_sentence": "a", "sentences": []}
EMPTY = {
    "text": ("/embed", {"inputs": ""}, "an input is an empty text"),
    "text among others": ("/embed_all", {"inputs": ["a", ""]}, "an input is an empty text"),
    "list": ("/embed", {"inputs": []}, "`inputs` cannot be empty"),
    "row of ids": ("/embed", {"inputs": [[]]}, "`inputs` has an entry without token ids"),
    "texts": ("/rerank", {"query": "q", "texts": []}, "`texts` cannot be empty"),
    "text to rank": ("/rerank", {"query": "q", "texts": [""]}, "an input is an empty text"),
    "query": ("/rerank", {"query": "", "texts": ["a"]}, "an input is an empty text"),
    "pair": ("/predict", {"inputs": ["a", ""]}, "an input is an empty text"),
    "batch of pairs": ("/predict", {"inputs": []}, "`inputs` cannot be empty"),
    "sentences": ("/similarity", {"inputs": SENTENCES}, "`sentences` cannot be empty"),
    "texts to cut": ("/tokenize", {"inputs": []}, "`inputs` cannot be empty"),
    "ids": ("/decode", {"ids": []}, "`ids` cannot be empty"),
    "row of ids to read": ("/decode", {"ids": [[]]}, "`ids` has an entry without token ids"),
    "instances": ("/vertex", {"instances": []}, "`instances` cannot be empty"),
    "instance": ("/vertex", {"instances": [{"inputs": ""}]}, "instance 0: an input is an empty"),
}


@pytest.mark.parametrize(("path", "body", "problem"), EMPTY.values(), ids=EMPTY)
async def test_what_is_empty_is_400(
    client: httpx.AsyncClient, path: str, body: Any, problem: str
) -> None:
    status, kind, sentence = said(await client.post(path, json=body))
    assert (status, kind) == (400, "Empty")
    assert problem in sentence


MANY = ["a"] * 2049
WRONG = {
    "too many": ("/embed", {"inputs": MANY}, "at most 2048"),
    "too many pairs": ("/predict", {"inputs": [["a"]] * 2049}, "at most 2048"),
    "too many texts": ("/rerank", {"query": "q", "texts": MANY}, "at most 2048"),
    "too many ids": ("/decode", {"ids": [1] * 2049}, "at most 2048"),
    "two kinds": ("/embed", {"inputs": ["a", [1]]}, "mixes texts and token ids"),
    "two kinds of ids": ("/decode", {"ids": [1, [2]]}, "`ids` mixes ids and lists"),
    "two kinds of entries": ("/predict", {"inputs": ["a", ["b"]]}, "mixes texts and lists"),
    "three texts": ("/predict", {"inputs": ["a", "b", "c"]}, "3 texts"),
    "type": ("/embed", {"inputs": 5}, "got `int` - at `$.inputs`"),
    "field": ("/embed", {"input": "a"}, "unknown field `input`"),
    "no field": ("/rerank", {"texts": ["a"]}, "missing required field `query`"),
    "direction": ("/embed", {"inputs": "a", "truncation_direction": "up"}, "'up'"),
    "instance": (
        "/vertex",
        {"instances": [{"inputs": "a"}, {"inputs": 5}]},
        "instance 1: Expected",
    ),
    "parameters": ("/vertex", {"instances": [], "parameters": {"a": 1}}, "$.parameters"),
}


@pytest.mark.parametrize(("path", "body", "problem"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_422(
    client: httpx.AsyncClient, path: str, body: Any, problem: str
) -> None:
    status, kind, sentence = said(await client.post(path, json=body))
    assert (status, kind) == (422, "Validation")
    assert problem in sentence


FAILURES = {
    "too long": (
        InvalidInput("inputs", "the model reads 256", "input_too_long"),
        422,
        "Validation",
    ),
    "too many tokens": (InvalidInput("inputs", "x", "max_tokens_per_request"), 422, "Validation"),
    "token id": (InvalidInput("inputs", "id 30522", "invalid_token_id"), 422, "Tokenizer"),
    "no number": (NotFinite("score", 0, 1), 424, "Backend"),
    "device": (DeviceFailed("it broke"), 424, "Backend"),
    "queue": (QueueFull(9, 9, 2.0), 429, "Overloaded"),
    "memory": (OutOfMemory("full"), 503, "Backend"),
    "adapter": (AdapterRefused("has use_dora true"), 503, "Backend"),
    "late": (DeadlineExceeded("late"), 504, "Backend"),
}


@pytest.mark.parametrize("path", ONE)
@pytest.mark.parametrize(("failure", "status", "kind"), FAILURES.values(), ids=FAILURES)
async def test_what_fails(
    client: httpx.AsyncClient,
    fake_model: Any,
    path: str,
    failure: Exception,
    status: int,
    kind: str,
) -> None:
    fake_model.failure = failure
    reply = await client.post(path, json=ONE[path])
    got, told, sentence = said(reply)
    assert (got, told) == (status, kind)
    assert str(failure) in sentence
    assert reply.headers.get("retry-after") == ("2" if status == 429 else None)


async def test_what_nobody_foresaw_says_nothing_of_itself(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    fake_model.failure = RuntimeError("secret")
    status, kind, sentence = said(await client.post("/embed", json=ONE["/embed"]))
    assert (status, kind, "secret" in sentence) == (500, "Backend", False)


OFFERS: dict[str, tuple[str, dict[str, Any], int, str, str]] = {
    "prompt": ("/embed", {"inputs": "a", "prompt_name": "q"}, 422, "Validation", "no prompt 'q'"),
    "no dimensions": ("/embed", {"inputs": "a", "dimensions": 0}, 422, "Validation", "is 0"),
    "dimensions": ("/embed", {"inputs": "a", "dimensions": 4}, 422, "Validation", "is 4"),
    "no reranker": ("/rerank", ONE["/rerank"], 424, "Backend", "scores no pairs"),
    "no classifier": ("/predict", ONE["/predict"], 424, "Backend", "gives no score"),
    "no sparse model": ("/embed_sparse", ONE["/embed_sparse"], 424, "Backend", "gives no sparse"),
}


@pytest.fixture
async def real(ran: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Over the real pipeline of a model that gives dense vectors of 3 numbers, and has one prompt."""
    lifecycle = Lifecycle("minilm")
    lifecycle.ready(ran({"prompts": Prompts(named={"query": "Q: "})}).pipeline)
    transport = httpx.ASGITransport(public_app(lifecycle, Metrics("0")))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        yield client


@pytest.mark.parametrize(("path", "body", "status", "kind", "problem"), OFFERS.values(), ids=OFFERS)
async def test_what_the_model_does_not_have(
    real: httpx.AsyncClient, path: str, body: Any, status: int, kind: str, problem: str
) -> None:
    got, told, sentence = said(await real.post(path, json=body))
    assert (got, told) == (status, kind)
    assert problem in sentence


@pytest.mark.parametrize("path", [path for path in ONE if path != "/rerank"])
@pytest.mark.parametrize(
    ("content", "media", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[]", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b" " * (MAX_BODY_BYTES + 1), "application/json", 413),
    ],
    ids=["no JSON", "no text", "no object", "no JSON by its type", "too large"],
)
async def test_what_cannot_be_read(
    client: httpx.AsyncClient, path: str, content: bytes, media: str, status: int
) -> None:
    reply = await client.post(path, content=content, headers={"content-type": media})
    assert said(reply)[:2] == (status, "Validation")


@pytest.mark.parametrize(
    ("content", "status", "key"),
    [
        (b'{"query": "q", "texts": ["a"', 400, "error"),
        (b'{"query": "q", "documents": ["a"', 400, "message"),
        (b'{"query": "q", "documents": ["a"], "about": "texts"', 400, "message"),
        (b'{"documents": ["a"], "texts": ["a"', 400, "message"),
        (b'["texts"]', 422, "error"),
        (b"[]", 400, "message"),
        (b"", 400, "message"),
        (b"\xff", 400, "message"),
        (b'{"a": ' + b"[" * 100_000, 400, "message"),
        (b'{"texts": [], "a": ' + b"[" * 100_000, 422, "error"),
    ],
)
async def test_what_cannot_be_read_on_a_shared_path_is_tei_s_if_it_names_texts(
    client: httpx.AsyncClient, content: bytes, status: int, key: str
) -> None:
    reply = await client.post("/rerank", content=content, headers=JSON)
    assert set(reply.json()) == {key, "error_type"}
    assert reply.status_code == status


async def test_a_missing_content_type_is_read_as_json(client: httpx.AsyncClient) -> None:
    """TEI says 415."""
    assert (await client.post("/embed", content=b'{"inputs": "a"}')).status_code == 200


@pytest.mark.parametrize("path", ["/embed", "/info"])
async def test_a_key_is_asked_for(tmp_path: Path, lifecycle: Lifecycle, path: str) -> None:
    (tmp_path / "keys").write_text("key\n")
    edge = Edge(keys=Keys(tmp_path / "keys"))
    transport = httpx.ASGITransport(public_app(lifecycle, Metrics("0"), edge))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        for headers in ({}, {"authorization": "Bearer none"}):
            method = "GET" if path == "/info" else "POST"
            reply = await client.request(method, path, json=ONE.get(path), headers=headers)
            assert said(reply)[:2] == (401, "Validation")
            assert reply.headers["www-authenticate"] == "Bearer"
        for open_path in ("/health", "/ping", "/"):
            assert (await client.get(open_path)).status_code == 200


async def test_an_unknown_model_is_404(client: httpx.AsyncClient) -> None:
    reply = await client.post("/embed", json={"inputs": "a", "model": "other"})
    assert said(reply)[:2] == (404, "Validation")


@pytest.mark.parametrize("path", ONE)
async def test_a_model_that_loads_is_unhealthy(path: str) -> None:
    transport = httpx.ASGITransport(public_app(Lifecycle("minilm"), Metrics("0")))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        reply = await client.post(path, json=ONE[path])
    assert said(reply)[:2] == (503, "Unhealthy")
    assert reply.headers["retry-after"] == "2"
