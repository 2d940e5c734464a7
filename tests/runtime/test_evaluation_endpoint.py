"""What is asked of an endpoint, in each contract's words, and what becomes of every answer."""

import base64
import json
import logging
from collections.abc import Sequence
from typing import Any

import httpx2
import numpy as np
import pytest

from kubeembed_runtime.evaluation import endpoint as room
from kubeembed_runtime.evaluation.contracts import Name
from kubeembed_runtime.evaluation.endpoint import BROKEN_PAUSES, Endpoint, batches
from kubeembed_runtime.evaluation.errors import EndpointFailed

URL = "http://embedder"
TEXTS = ["one", "three"]
VECTORS = np.array([[3, 0.5], [5, 0.5]], dtype=np.float32)


class Server:
    """Gives each answer once, in order; `asked` are the requests, `waits` the pauses before them."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx2.Request] = []
        self.waits: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def endpoint(self, contract: Name = "cohere", key: str | None = None) -> Endpoint:
        return Endpoint(
            f"{URL}/",
            model="minilm",
            contract=contract,
            key=key,
            transport=httpx2.MockTransport(self),
            wait=self.waits.append,
        )

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.asked]


def packed(vectors: Sequence[Sequence[float]] | np.ndarray) -> list[str]:
    return [base64.b64encode(np.asarray(one, "<f4").tobytes()).decode() for one in vectors]


def cohere(vectors: Any = VECTORS, **headers: str) -> httpx2.Response:
    return httpx2.Response(200, json={"embeddings": {"base64": packed(vectors)}}, headers=headers)


def busy(status: int, **headers: str) -> httpx2.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json={"message": "come again"}, headers=names)


def test_coheres_contract_is_told_the_side() -> None:
    server = Server(cohere(**{"X-KubeEmbed-Fingerprint": "f00d"}), cohere())
    endpoint = server.endpoint(key="secret")
    assert endpoint.fingerprint is None
    for side in ("document", "query"):
        assert np.array_equal(endpoint.embed(TEXTS, side), VECTORS)  # type: ignore[arg-type]
    assert [str(request.url) for request in server.asked] == [f"{URL}/v2/embed"] * 2
    assert server.asked[0].headers["authorization"] == "Bearer secret"
    body = {"model": "minilm", "texts": TEXTS, "embedding_types": ["base64"]}
    assert server.bodies == [
        {**body, "input_type": "search_document"},
        {**body, "input_type": "search_query"},
    ]
    assert endpoint.fingerprint == "f00d"


def test_vectors_of_two_models_are_not_measured_together() -> None:
    marks = ("f00d", "f00d", "beef")
    server = Server(*(cohere(**{"X-KubeEmbed-Fingerprint": mark}) for mark in marks))
    endpoint = server.endpoint()
    for _ in range(2):
        endpoint.embed(TEXTS, "document")
    said = r"/v2/embed answers by fingerprints f00d and beef: measure when its roll-out is over"
    with pytest.raises(EndpointFailed, match=said):
        endpoint.embed(TEXTS, "query")


@pytest.mark.parametrize("sent", [packed(VECTORS), VECTORS.tolist()], ids=["base64", "numbers"])
def test_openais_contract_has_no_side_and_an_order_of_its_own(sent: Any) -> None:
    data = [{"object": "embedding", "index": i, "embedding": sent[i]} for i in (1, 0)]
    server = Server(httpx2.Response(200, json={"data": data}))
    assert np.array_equal(server.endpoint("openai").embed(TEXTS, "query"), VECTORS)
    assert str(server.asked[0].url) == f"{URL}/v1/embeddings"
    assert "authorization" not in server.asked[0].headers
    assert server.bodies == [{"model": "minilm", "input": TEXTS, "encoding_format": "base64"}]


def test_scores_come_in_the_order_of_the_documents() -> None:
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
    server = Server(httpx2.Response(200, json={"results": results}))
    assert server.endpoint().rerank("what?", TEXTS) == [0.1, 0.9]
    assert str(server.asked[0].url) == f"{URL}/rerank"
    assert server.bodies == [{"model": "minilm", "query": "what?", "documents": TEXTS}]


def test_a_busy_server_is_asked_again_when_it_says(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(
        busy(503, retry_after="2"), busy(429), busy(429, retry_after="Fri, 27 Nov 2026"), cohere()
    )
    with caplog.at_level(logging.WARNING):
        server.endpoint().embed(TEXTS, "query")
    assert server.waits == [2.0, 1.0, 30.0]
    assert f"{URL}/v2/embed is busy: come again; asking again in 2.0 s" in caplog.messages


def test_a_server_that_stays_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PATIENCE_SECONDS", 50.0)
    server = Server(*[busy(503, retry_after="60")] * 9)
    with pytest.raises(EndpointFailed, match="answered 503: come again"):
        server.endpoint().embed(TEXTS, "query")
    assert server.waits == [30.0, 30.0]


def test_what_breaks_off_is_asked_again_a_few_times() -> None:
    broken = httpx2.ReadError("reset")
    server = Server(broken, broken, broken, cohere())
    assert np.array_equal(server.endpoint().embed(TEXTS, "query"), VECTORS)
    assert server.waits == list(BROKEN_PAUSES)
    with pytest.raises(EndpointFailed, match="broke off: ReadError"):
        Server(*[broken] * 4).endpoint().embed(TEXTS, "query")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx2.ConnectError("Connection refused"), "cannot be reached: Connection refused"),
        (busy(503), "answered 503: come again"),
        (busy(400), "answered 400: come again"),
        (
            httpx2.Response(404, json={"error": {"message": "no such model", "code": None}}),
            "answered 404: no such model",
        ),
        (httpx2.Response(404, text="<html>not here"), "answered 404: <html>not here"),
        (httpx2.Response(502), "answered 502: Bad Gateway"),
        (cohere(VECTORS[:1]), "gave 1 vectors for 2 texts"),
        (cohere([]), "gave no embeddings: need at least one array to stack"),
        (cohere([[1.0], [1.0, 2.0]]), "gave no embeddings: all input arrays must have the same"),
        (cohere([[1.0], [float("nan")]]), "gave a vector that has a number which is not finite"),
        (
            httpx2.Response(200, json={"embeddings": {"base64": ["AAA="]}}),
            "gave no embeddings: buffer size must be a multiple",
        ),
        (
            httpx2.Response(200, json={"embeddings": {"base64": ["?"]}}),
            "gave no embeddings: ",
        ),
        (
            httpx2.Response(200, json={"embeddings": [[1.0]]}),
            "gave no embeddings: Expected `object`, got `array` - at `$.embeddings`",
        ),
    ],
)
def test_an_answer_without_vectors_ends_it_and_says_why(
    answer: httpx2.Response | Exception, said: str
) -> None:
    server = Server(answer)
    with pytest.raises(EndpointFailed) as failed:
        server.endpoint().embed(TEXTS, "query")
    assert str(failed.value).startswith(f"{URL}/v2/embed {said}")
    assert server.waits == []


def test_scores_that_are_not_whole_end_it() -> None:
    partial = httpx2.Response(200, json={"results": [{"index": 1, "relevance_score": 0.9}]})
    with pytest.raises(EndpointFailed, match="gave no ranking: 1 of 2 documents have a score"):
        Server(partial).endpoint().rerank("what?", TEXTS)


def test_batches_are_bounded_in_texts_and_in_characters() -> None:
    long = "x" * 200_000
    texts = ["a", "b", "c", long, long, "d", "x" * 300_000, "e"]
    assert [len(batch) for batch in batches(texts, 2)] == [2, 2, 2, 1, 1]
    assert [len(batch) for batch in batches(texts, 64)] == [4, 2, 1, 1]
    assert [text for batch in batches(texts, 3) for text in batch] == texts
    assert list(batches([], 3)) == []
