"""Late interaction: every token of the query finds its best token in the document; their sum is the score.

ColBERT sums over the query's tokens, BGE-M3 takes their mean. Documents are scored together, one matrix
product per window of their tokens; and of a query's too, where both sides are long.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kubeembed_runtime.requests import Vector

#: Products of a query token and a document token that are held at once: 32 MiB. Two texts of 8,192 tokens
#: have 256 MiB of them, and there is a thread for each core.
PRODUCTS = 2**23

#: The score of a document without any token: below all real ones, and finite, so that it can be sent.
NO_TOKENS = -1e9


def maxsim(
    query: Vector, documents: Sequence[Vector], *, mean: bool = False, products: int = PRODUCTS
) -> NDArray[np.float32]:
    """query: (q, d), q > 0; documents: (tokens, d) each; returns (documents,) float32."""
    scores = np.full(len(documents), NO_TOKENS, dtype=np.float32)
    for places in _windows([len(document) for document in documents], products // len(query)):
        scores[places] = _sums(query, [documents[place] for place in places], products)
    if mean:
        scores /= len(query)
    return scores


def _windows(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """The places of documents that have tokens, at most so many tokens in a window, or one document."""
    window: list[int] = []
    held = 0
    for place, length in enumerate(lengths):
        if window and held + length > tokens:
            yield window
            window, held = [], 0
        if length:
            window.append(place)
            held += length
    if window:
        yield window


def _sums(query: Vector, documents: Sequence[Vector], products: int) -> NDArray[np.float32]:
    """documents: with a token at least; returns (documents,)."""
    starts = np.cumsum([0, *(len(document) for document in documents[:-1])])
    tokens = np.concatenate(documents)
    rows = max(1, products // len(tokens))
    summed = np.zeros(len(documents), dtype=np.float32)
    for begin in range(0, len(query), rows):
        found = query[begin : begin + rows] @ tokens.T  # (rows, tokens)
        best = np.maximum.reduceat(found, starts, axis=1)  # (rows, documents)
        summed += best.sum(axis=0, dtype=np.float32)
    return summed
