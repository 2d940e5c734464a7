"""Vectors of documents and queries -> the best documents of each query, by each kind of vector.

What is compared is what a vector database would hold: floats, int8 with a scale per vector, or one bit per
dimension. Every document is looked at, so that the figures are those of the vectors and of no index.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kubeembed_runtime.precision import Floats, quantize, restore

#: (queries, d) float32 -> (queries, documents) float32, the best highest.
Scores = Callable[[Floats], Floats]

#: Of documents, the best first.
Places = NDArray[np.intp]

#: How many scores are in memory at once: 256 MB.
_BLOCK = 2**26

#: How many candidates by bits, for each document asked for, are compared again.
OVERSAMPLING = 4

KINDS = ("float", "int8", "binary", "binary, rescored")


def searched(documents: Floats, queries: Floats, count: int) -> Iterator[tuple[str, list[Places]]]:
    """For each of KINDS the best documents of each query; of equal ones the first comes first.

    documents: (n, d), queries: (q, d).
    """
    kinds = {"float": floats(documents), "int8": int8(documents), "binary": bits(documents)}
    for kind, scores in kinds.items():
        yield kind, exhaustively(scores, queries, len(documents), count)
    near = exhaustively(kinds["binary"], queries, len(documents), count * OVERSAMPLING)
    yield "binary, rescored", rescored(near, documents, queries, count)


def floats(documents: Floats) -> Scores:
    """Dot products."""
    return lambda queries: queries @ documents.T


def int8(documents: Floats) -> Scores:
    """Dot products of integers, exact in float32 up to 1,040 dimensions, times both scales."""
    theirs, their_scales = _integers(documents)

    def scores(queries: Floats) -> Floats:
        ours, our_scales = _integers(queries)
        products: Floats = (ours @ theirs.T) * our_scales[:, None] * their_scales
        return products

    return scores


def bits(documents: Floats) -> Scores:
    """Hamming distances, negative: the nearest highest."""
    theirs = _words(documents)

    def scores(queries: Floats) -> Floats:
        rows = [np.bitwise_count(theirs ^ ours).sum(axis=1) for ours in _words(queries)]
        return -np.array(rows, dtype=np.float32)

    return scores


def exhaustively(scores: Scores, queries: Floats, documents: int, count: int) -> list[Places]:
    """The best of all documents for each query."""
    step = max(1, _BLOCK // documents)
    blocks = (queries[start : start + step] for start in range(0, len(queries), step))
    return [best(row, count) for block in blocks for row in scores(block)]


def rescored(
    near: Sequence[Places], documents: Floats, queries: Floats, count: int
) -> list[Places]:
    """The best of each query's candidates by its own floats and their int8."""
    found = []
    for candidates, query in zip(near, queries, strict=True):
        places = np.sort(candidates)
        again = restore(quantize(documents[places], "int8")) @ query
        found.append(places[best(again, count)])
    return found


def best(scores: Floats, count: int) -> Places:
    """scores: (n,). The places of the highest, in order; of equal ones the first comes first."""
    places = np.arange(len(scores))
    if count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        places = np.flatnonzero(scores >= least)
    return places[np.argsort(-scores[places], kind="stable")][:count]


def _integers(vectors: Floats) -> tuple[Floats, Floats]:
    """(n, d) whole numbers, which BLAS multiplies as floats, and (n,) scales."""
    quantized = quantize(vectors, "int8")
    assert quantized.scale is not None
    return quantized.values.astype(np.float32), quantized.scale


def _words(vectors: Floats) -> NDArray[np.uint8] | NDArray[np.uint64]:
    """(n, bytes) of bits, eight bytes in one word where that comes out even."""
    packed: NDArray[np.uint8] = np.ascontiguousarray(quantize(vectors, "ubinary").values)
    return packed.view(np.uint64) if packed.shape[1] % 8 == 0 else packed
