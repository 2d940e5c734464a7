"""Reranking on the paths that four contracts share, with a fake model behind them."""

from typing import Any

import httpx
import pytest

from kubeembed_runtime.errors import InvalidInput, QueueFull

PATHS = ["/rerank", "/v1/rerank", "/v2/rerank"]
DOCUMENTS = ["a", "a" * 20, {"text": "aa"}]


@pytest.fixture(autouse=True)
def cross_encoder(fake_model: Any) -> None:
    fake_model.info = fake_model.info.model_copy(update={"outputs": ("score",)})


@pytest.mark.parametrize("path", PATHS)
async def test_documents_are_ranked_best_first(client: httpx.AsyncClient, path: str) -> None:
    body = {"query": "q", "documents": DOCUMENTS, "raw_scores": True, "top_n": 2}
    reply = (await client.post(path, json={**body, "return_documents": True})).json()
    assert len(reply.pop("id")) == 32
    assert reply == {
        "object": "rerank",
        "model": "minilm",
        "results": [
            {"index": 1, "relevance_score": 2.0, "document": {"text": "a" * 20}},
            {"index": 2, "relevance_score": pytest.approx(0.2), "document": {"text": "aa"}},
        ],
        "usage": {"prompt_tokens": 23, "total_tokens": 23},
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": 23},
        },
    }


async def test_relevance_is_between_0_and_1_and_max_sim_is_not(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    body = {"model": "minilm", "query": "q", "documents": ["a" * 20]}
    (best,) = (await client.post("/v2/rerank", json=body)).json()["results"]
    assert best == {"index": 0, "relevance_score": pytest.approx(0.8807971)}
    fake_model.info = fake_model.info.model_copy(update={"outputs": ("multivector",)})
    (best,) = (await client.post("/v2/rerank", json=body)).json()["results"]
    assert best["relevance_score"] == 2.0


async def test_the_tokens_of_a_document_are_bounded(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    body = {"query": "q", "documents": ["a"], "max_tokens_per_doc": 7}
    assert (await client.post("/v2/rerank", json=body)).status_code == 200
    assert [asked.document_tokens for asked in fake_model.scored] == [7]


async def test_objects_come_back_whole(client: httpx.AsyncClient) -> None:
    whole = {"text": "aa", "id": 7, "tags": ["x"]}
    body = {"query": "q", "documents": ["a", whole], "return_documents": True}
    for path in PATHS:
        results = (await client.post(path, json=body)).json()["results"]
        assert [one["document"] for one in results] == [whole, {"text": "a"}]


async def test_the_fields_of_objects_are_ranked_in_their_order(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    document = {"title": "t", "author": "me", "year": 1999, "text": ""}
    body = {"query": "q", "documents": [document, "plain"], "rank_fields": ["author", "title"]}
    reply = await client.post("/v1/rerank", json={**body, "max_chunks_per_doc": 1})
    assert reply.status_code == 200
    (asked,) = fake_model.scored
    assert asked.documents == ["me\nt", "plain"]


V1 = {
    "year": ({"rank_fields": ["year"]}, "document 0 has no text in its field `year`"),
    "colour": ({"rank_fields": ["text", "colour"]}, "document 0 has no field `colour`"),
    "no fields": ({"rank_fields": []}, "`rank_fields` is empty"),
    "empty": ({"rank_fields": ["nothing"]}, "document 0 is empty"),
    "chunks": ({"max_chunks_per_doc": 10}, "max_chunks_per_doc is 10; a document is one chunk"),
}


@pytest.mark.parametrize(("change", "problem"), V1.values(), ids=V1)
async def test_what_cohere_s_v1_cannot_have_is_refused(
    client: httpx.AsyncClient, change: Any, problem: str
) -> None:
    document = {"text": "a", "year": 1999, "nothing": ""}
    body = {"query": "q", "documents": [document], **change}
    reply = await client.post("/v1/rerank", json=body)
    assert (reply.status_code, problem in reply.json()["message"]) == (400, True)
    (field,) = change
    other = await client.post("/v2/rerank", json=body)
    assert f"unknown field `{field}`" in other.json()["message"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("change", "status", "problem"),
    [
        ({"documents": []}, 400, "`documents` is empty"),
        ({"documents": ["a", ""]}, 400, "document 1 is empty"),
        ({"documents": [{"title": "a"}]}, 400, "document 0 has no field `text`"),
        ({"documents": [{"text": 5}]}, 400, "document 0 has no text in its field `text`"),
        ({"documents": ["a"] * 2049}, 400, "at most 2048"),
        ({"query": ""}, 400, "`query` is empty"),
        ({"top_n": -1}, 400, "top_n is -1"),
        ({"max_tokens_per_doc": 0}, 400, "max_tokens_per_doc is 0"),
        ({"model": "other"}, 404, "have: minilm"),
        ({"colour": "red"}, 400, "unknown field `colour`"),
    ],
    ids=str,
)
async def test_a_wrong_body_is_refused(
    client: httpx.AsyncClient, path: str, change: Any, status: int, problem: str
) -> None:
    reply = await client.post(path, json={"query": "q", "documents": DOCUMENTS, **change})
    assert reply.status_code == status
    assert problem in reply.json()["message"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"query": "q", "documents": ["a"]}, "message"),
        ({"query": "q", "texts": ["a"]}, "error"),
    ],
    ids=["documents", "texts"],
)
async def test_the_body_decides_whose_words_an_error_is_in(
    client: httpx.AsyncClient, fake_model: Any, body: Any, word: str
) -> None:
    fake_model.failure = QueueFull(9, 9, 2.0)
    reply = await client.post("/rerank", json=body)
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "2")
    assert "tokens are waiting" in reply.json()[word]
    fake_model.failure = InvalidInput("outputs", "scores no pairs")
    assert (await client.post("/rerank", json=body)).status_code == (
        424 if word == "error" else 400
    )
