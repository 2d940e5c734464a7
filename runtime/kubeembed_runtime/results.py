"""The outputs of a request's items -> its answer, where that is more than a list: chunks and scores."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from kubeembed_runtime.requests import Output, Vector
from kubeembed_runtime.tokens import Tokens


def labels(outputs: Sequence[Output]) -> Vector:
    """The only label of each pair; (n,)."""
    scores = [output.score[0] for output in outputs if output.score is not None]
    return np.array(scores, dtype=np.float32)


def pooled(tokens: Sequence[Tokens], outputs: Sequence[Output], normalize: bool) -> list[Output]:
    """A dense vector per input: the mean of its chunks', each weighted by the tokens that were read for it.

    normalize: the chunks' vectors are of length one; then the mean is too.
    A text of one chunk keeps the vector of that chunk.
    """
    parts = zip(tokens, outputs, strict=True)
    vectors = []
    for _, group in groupby(parts, key=lambda pair: _input(pair[0])):
        members = list(group)
        weights = np.array([len(one.ids) for one, _ in members], dtype=np.float32)
        rows = np.stack([output.dense for _, output in members if output.dense is not None])
        vectors.append(_mean(rows, weights, normalize))
    return [Output(dense=vector) for vector in vectors]


def _mean(rows: Vector, weights: Vector, normalize: bool) -> Vector:
    """rows: (chunks, d); returns (d,)."""
    if len(rows) == 1:
        only: Vector = rows[0]
        return only
    mean = weights @ rows / weights.sum()
    length = np.linalg.norm(mean) if normalize else 1.0
    scaled: Vector = (mean / max(float(length), 1e-12)).astype(np.float32)
    return scaled


def _input(tokens: Tokens) -> int:
    assert tokens.chunk is not None, "a request with chunking is tokenised into chunks"
    return tokens.chunk.input
