"""The words in which an endpoint is asked for vectors and scores, and in which it answers.

Cohere's contract tells queries from documents, so that a model's prompts are used; OpenAI's has no word for
that. Scores are asked for as Cohere, Jina, Infinity and vLLM have it.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from kubeembed_runtime.precision import Floats

Side = Literal["query", "document"]
Name = Literal["cohere", "openai"]

RERANK = "/rerank"


@dataclass(frozen=True, slots=True)
class Contract:
    """body: (model, texts, side) -> what is posted. vectors: the reply -> one per text, in their order.

    `vectors` raises ValueError (msgspec's errors are some) for what is no such reply.
    """

    path: str
    body: Callable[[str, Sequence[str], Side], dict[str, Any]]
    vectors: Callable[[bytes], Sequence[Floats]]


class _ByType(msgspec.Struct):
    base64: list[str]


class _CohereReply(msgspec.Struct):
    embeddings: _ByType


class _Embedding(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _OpenAIReply(msgspec.Struct):
    data: list[_Embedding]


class _Result(msgspec.Struct):
    index: int
    relevance_score: float


class _RerankReply(msgspec.Struct):
    results: list[_Result]


def _cohere_body(model: str, texts: Sequence[str], side: Side) -> dict[str, Any]:
    return {
        "model": model,
        "texts": texts,
        "input_type": f"search_{side}",
        "embedding_types": ["base64"],
    }


def _cohere_vectors(reply: bytes) -> list[Floats]:
    return [_floats(one) for one in msgspec.json.decode(reply, type=_CohereReply).embeddings.base64]


def _openai_body(model: str, texts: Sequence[str], side: Side) -> dict[str, Any]:
    return {"model": model, "input": texts, "encoding_format": "base64"}


def _openai_vectors(reply: bytes) -> list[Floats]:
    data = msgspec.json.decode(reply, type=_OpenAIReply).data
    return [_floats(one.embedding) for one in sorted(data, key=lambda one: one.index)]


def _floats(sent: str | list[float]) -> Floats:
    """Some servers answer numbers whatever they are asked for."""
    if isinstance(sent, str):
        return np.frombuffer(base64.b64decode(sent, validate=True), dtype="<f4")
    return np.array(sent, dtype=np.float32)


def rerank_body(model: str, query: str, documents: Sequence[str]) -> dict[str, Any]:
    """All are wanted back."""
    return {"model": model, "query": query, "documents": documents}


def scores(reply: bytes, count: int) -> list[float]:
    """One for each of `count` documents, in their order. Raises ValueError."""
    results = msgspec.json.decode(reply, type=_RerankReply).results
    found = {result.index: result.relevance_score for result in results}
    if sorted(found) != list(range(count)):
        raise ValueError(f"{len(found)} of {count} documents have a score")
    return [found[index] for index in range(count)]


CONTRACTS: Mapping[Name, Contract] = {
    "cohere": Contract("/v2/embed", _cohere_body, _cohere_vectors),
    "openai": Contract("/v1/embeddings", _openai_body, _openai_vectors),
}
