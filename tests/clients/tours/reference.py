"""What the tours compare with: texts, sentence-transformers' vectors, and a cross-encoder's scores."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

EMBEDDER, RERANKER, FILE = sys.argv[1:4]
_TOLD = json.loads(Path(FILE).read_text())
TEXTS: list[str] = _TOLD["texts"]
QUERY: str = _TOLD["query"]
SCORES: list[float] = _TOLD["scores"]  # of the texts for the query, sigmoid and all
RANKING = sorted(range(len(TEXTS)), key=lambda place: -SCORES[place])


def same(vectors: Sequence[Sequence[float]], texts: Sequence[str] = TEXTS) -> None:
    """The vectors are those of the texts, in their order."""
    assert len(vectors) == len(texts)
    for vector, text in zip(vectors, texts, strict=True):
        wanted = _TOLD["vectors"][TEXTS.index(text)]
        assert cosine(list(vector), wanted) > 0.99999, text


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    dot = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(math.fsum(a * a for a in one) * math.fsum(b * b for b in other))


def ranked(places: Sequence[int], scores: Sequence[float]) -> None:
    """The texts in the order of the cross-encoder, with its scores."""
    assert list(places) == RANKING[: len(places)]
    for place, score in zip(places, scores, strict=True):
        assert abs(score - SCORES[place]) < 1e-4, (place, score, SCORES[place])


@contextmanager
def refused(kind: type[Exception], *words: str) -> Iterator[None]:
    """What is tried raises this, and says so."""
    try:
        yield
    except kind as error:
        response = getattr(error, "response", None)
        said = f"{error} {getattr(error, 'body', '')} {response.text if response else ''}"
        missing = [word for word in words if word not in said]
        if missing:
            raise AssertionError(f"{missing} not in: {said}") from error
    else:
        raise AssertionError(f"no {kind.__name__}")
