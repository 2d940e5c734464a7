"""TEI's contract over the real application, with a fake model behind it."""

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest

from kubeembed_runtime.api.tei_vertex import AT_A_TIME
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
    assert set(told) > {"max_concurrent_requests", "max_batch_tokens", "tokenization_workers"}
    assert (told["sha"], told["docker_label"]) == (None, None)
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


async def test_vertex_answers_each_instance_as_its_own_body_calls_for(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    similar = {"inputs": {"source_sentence": "a", "sentences": ["cc"]}}
    instances = [{"inputs": "one"}, {"inputs": ["a", "bc"]}, similar]
    reply = await client.post("/vertex", json={"instances": instances, "parameters": None})
    assert (reply.status_code, reply.json()) == (
        200,
        {"predictions": [[VECTOR], [[1.0] * 3, [2.0] * 3], [6.0]]},
    )
    assert reply.headers["x-kubeembed-fingerprint"] == "f00d"
    gives(fake_model, "score", labels=("yes",))
    ranking = {"query": "q", "texts": ["aa"], "raw_scores": True}
    instances = [ranking, {"inputs": "abc", "raw_scores": True}]
    reply = await client.post("/vertex", json={"instances": instances})
    ranks, labels = reply.json()["predictions"]
    assert ranks == [{"index": 0, "score": pytest.approx(0.2)}]
    assert labels == [{"label": "yes", "score": pytest.approx(0.3)}]


async def test_vertex_says_which_fingerprints_its_vectors_have(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    fake_model.adapters = ("legal",)
    base, legal = {"inputs": "a"}, {"inputs": "a", "model": "minilm:legal"}
    for instances, told in (
        ([base, base], "f00d"),
        ([legal, legal], "beef"),
        ([base, legal], "beef, f00d"),
    ):
        reply = await client.post("/vertex", json={"instances": instances})
        assert reply.headers["x-kubeembed-fingerprint"] == told
    pinned = {"if-fingerprint-match": "f00d"}
    body = {"instances": [base, legal]}
    assert (await client.post("/vertex", json=body, headers=pinned)).status_code == 412


async def test_the_instances_of_vertex_take_turns(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    """And where one fails, the others end."""
    fake_model.gate = asyncio.Event()
    asked = asyncio.ensure_future(
        client.post("/vertex", json={"instances": [{"inputs": "a"}] * (AT_A_TIME + 8)})
    )
    while len(fake_model.asked) < AT_A_TIME:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(fake_model.asked) == AT_A_TIME
    wrong = client.post("/vertex", json={"instances": [{"inputs": "a"}, {"inputs": ""}]})
    assert (await wrong).status_code == 400
    assert (len(fake_model.asked), fake_model.cancelled) == (AT_A_TIME + 1, 1)
    fake_model.gate.set()
    assert (await asked).json() == {"predictions": [[[1.0] * 3]] * (AT_A_TIME + 8)}


@pytest.mark.parametrize(("device", "kind"), [("cpu", "cpu"), ("cuda", "gpu+optimized")])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"inputs": ["one", "two"]}),
        ("/embed_all", {"inputs": ["one", "two"]}),
        ("/embed_sparse", {"inputs": ["one", "two"]}),
        ("/predict", {"inputs": ["one", "two"]}),
        ("/similarity", {"inputs": {"source_sentence": "one", "sentences": ["two"]}}),
        ("/rerank", {"query": "one", "texts": ["two"]}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_every_computed_reply_has_tei_s_headers(
    client: httpx.AsyncClient, fake_model: Any, device: str, kind: str, path: str, body: Any
) -> None:
    fake_model.info = fake_model.info.model_copy(update={"device": device})
    headers = (await client.post(path, json=body)).headers
    assert headers["x-compute-type"] == kind
    assert headers["x-compute-characters"] == "6"
    assert headers["x-compute-tokens"] == ("3" if path == "/rerank" else "6")
    times = ("compute", "total", "tokenization", "queue", "inference")
    assert all(int(headers[f"x-{name}-time"]) >= 0 for name in times)
