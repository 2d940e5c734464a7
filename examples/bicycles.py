"""What the examples share: 128 short texts about bicycles, questions about them, and vectors for both."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from openai import OpenAI

CORPUS = Path(__file__).parent / "corpus"


class Embedder:
    """An embedding service, asked with OpenAI's client. `url` is its base URL, without /v1."""

    def __init__(self, url: str) -> None:
        self.client = OpenAI(base_url=f"{url}/v1", api_key="none")
        self.model = self.client.models.list().data[0].id

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, dimensions) float32."""
        reply = self.client.embeddings.create(model=self.model, input=list(texts))
        return np.array([one.embedding for one in reply.data], dtype=np.float32)


def documents() -> list[dict]:
    """Objects with _id, title, text and metadata, where their topic is."""
    return _records("corpus.jsonl")


def questions() -> list[dict]:
    """Objects with _id and text."""
    return _records("queries.jsonl")


def judgements() -> dict[str, dict[str, int]]:
    """By question and document: 2 answers it, 1 is about it."""
    found: dict[str, dict[str, int]] = {}
    for line in (CORPUS / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        question, document, score = line.split("\t")
        found.setdefault(question, {})[document] = int(score)
    return found


def passage(document: dict) -> str:
    """What is embedded of a document."""
    return f"{document['title']} {document['text']}"


def _records(name: str) -> list[dict]:
    return [json.loads(line) for line in (CORPUS / name).read_text().splitlines()]
