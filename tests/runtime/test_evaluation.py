"""One evaluation over a server that gives vectors and scores out of tables."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx2
import numpy as np
import pytest

from kubeembed_runtime.evaluation.dataset import Dataset
from kubeembed_runtime.evaluation.endpoint import Endpoint
from kubeembed_runtime.evaluation.errors import EndpointFailed
from kubeembed_runtime.evaluation.evaluate import Evaluation, Options, Row, evaluate
from kubeembed_runtime.evaluation.measures import Figures

URL = "http://server"
PERFECT = Figures(ndcg_at_10=1.0, mrr_at_10=1.0, recall_at_100=1.0)
SECOND = Figures(ndcg_at_10=1 / np.log2(3), mrr_at_10=0.5, recall_at_100=1.0)

#: Angles, in degrees, of the vectors of texts. Lengths differ: only cosines ignore them.
ANGLES = {"near": 1.0, "far": 20.0, "opposite": 181.0, "query": 0.0}
LENGTHS = {"near": 1.0, "far": 9.0, "opposite": 1.0, "query": 1.0}

DATASET = Dataset(
    documents={"a": "near", "b": "far", "c": "opposite"},
    queries={"q": "query"},
    qrels={"q": {"a": 1}},
)


class Server:
    """Rerankers' scores are by document; `pairs` are those that were asked for."""

    def __init__(self, scores: Mapping[str, float] | None = None) -> None:
        self.scores = scores or {}
        self.pairs: list[tuple[str, str]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        if request.url.path == "/rerank":
            self.pairs += [(body["query"], text) for text in body["documents"]]
            scores = [self.scores[text] for text in body["documents"]]
            results = [{"index": i, "relevance_score": score} for i, score in enumerate(scores)]
            return httpx2.Response(200, json={"results": results})
        vectors = [self.vector(text) for text in body["texts"]]
        packed = [base64.b64encode(one.astype("<f4").tobytes()).decode() for one in vectors]
        return httpx2.Response(200, json={"embeddings": {"base64": packed}})

    def vector(self, text: str) -> np.ndarray[Any, Any]:
        angle = np.radians(ANGLES[text] + 10)  # so that bits are not on the edge
        return LENGTHS[text] * np.array([np.cos(angle), np.sin(angle)])

    def endpoint(self) -> Endpoint:
        return Endpoint(URL, model="m", transport=httpx2.MockTransport(self))


def rows(found: Evaluation) -> dict[str, Row]:
    return {row.kind: row for row in found.rows}


def test_the_figures_of_each_kind_stand_side_by_side() -> None:
    found = evaluate(DATASET, Server().endpoint(), None, Options())
    alone = {kind: row.alone for kind, row in rows(found).items()}
    # By bits a and b are equal, and of equal ones the larger id comes first.
    assert alone == {
        "float": PERFECT,
        "int8": PERFECT,
        "binary": SECOND,
        "binary, rescored": PERFECT,
    }
    assert found.dimensions == 2
    assert [row.reranked for row in found.rows] == [None] * 4


def test_dot_products_know_lengths_and_cosines_do_not() -> None:
    found = evaluate(DATASET, Server().endpoint(), None, Options(normalize=False))
    assert rows(found)["float"].alone == SECOND


def test_a_reranker_sees_the_best_alone_and_each_pair_once() -> None:
    server = Server({"near": 0.1, "far": 0.9, "opposite": 5.0})
    found = evaluate(DATASET, Server().endpoint(), server.endpoint(), Options(depth=2))
    assert sorted(server.pairs) == [("query", "far"), ("query", "near")]
    assert {row.reranked for row in found.rows} == {SECOND}


def test_what_is_not_reranked_stays_below() -> None:
    judged = replace(DATASET, qrels={"q": {"b": 1}})
    server = Server({"near": -5.0, "far": -9.0})
    found = evaluate(judged, Server().endpoint(), server.endpoint(), Options(depth=1))
    assert rows(found)["float"].reranked == SECOND
    assert rows(found)["binary"].reranked == PERFECT  # b is its first
    assert len(server.pairs) == 2


def test_many_documents_are_reranked_in_batches_and_none_is_lost() -> None:
    documents = {f"d{place}": "near" for place in range(10)} | {"a": "far"}
    dataset = replace(DATASET, documents=documents)
    server = Server({"near": 0.1, "far": 0.9})
    found = evaluate(dataset, Server().endpoint(), server.endpoint(), Options(batch=3))
    assert {row.reranked for row in found.rows} == {PERFECT}
    assert len(server.pairs) == 11


def test_a_document_that_is_the_query_itself_can_be_left_out() -> None:
    dataset = replace(DATASET, documents={"a": "far", "q": "near"}, qrels={"q": {"a": 1}})
    with_itself = evaluate(dataset, Server().endpoint(), None, Options())
    without = evaluate(dataset, Server().endpoint(), None, Options(identical=False))
    assert rows(with_itself)["float"].alone == SECOND
    assert rows(without)["float"].alone == PERFECT


@pytest.mark.parametrize(
    ("wide", "said"),
    [
        ("query", "gave 2 dimensions for documents, 3 for queries"),
        ("far", "gave vectors of different numbers of dimensions"),
    ],
)
def test_vectors_of_different_widths_are_no_vector_space(wide: str, said: str) -> None:
    class Widening(Server):
        def vector(self, text: str) -> np.ndarray[Any, Any]:
            return np.ones(3 if text == wide else 2)

    with pytest.raises(EndpointFailed, match=said):
        evaluate(DATASET, Widening().endpoint(), None, Options(batch=1))


def test_progress_is_told_line_by_line_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluate(DATASET, Server().endpoint(), None, Options())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "documents: 0 of 3 (0 %)",
        "documents: 3 of 3 (100 %)",
        "queries: 0 of 1 (0 %)",
        "queries: 1 of 1 (100 %)",
    ]
