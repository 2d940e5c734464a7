"""TEI's replies: the shapes for the description, and how they are written."""

from collections.abc import Sequence

import msgspec
import numpy as np
from starlette.responses import Response

from kubeembed_runtime.api.vectors import array_reply, marked
from kubeembed_runtime.requests import Encoded, Scored, Sparse, Vector


class SparseEntry(msgspec.Struct):
    """A weight of a vocabulary entry."""

    index: int
    value: float


class Rank(msgspec.Struct, omit_defaults=True):
    """A text of the request, by its place there."""

    index: int
    score: float
    text: str | None = None


class Prediction(msgspec.Struct):
    """A class and how likely it is."""

    score: float
    label: str


class SimpleToken(msgspec.Struct):
    """start, stop: bytes of the text, its prompt included; null for a special token."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


def vectors(rows: Sequence[Vector | None]) -> Response:
    """A list for each vector, or for each token's."""
    found = [np.ascontiguousarray(row) for row in rows if row is not None]
    return array_reply(found)


def sparse(row: Sparse) -> list[SparseEntry]:
    entries = zip(row.indices.tolist(), row.values.tolist(), strict=True)
    return [SparseEntry(index, value) for index, value in entries]


def with_headers(
    response: Response, done: Encoded | Scored, characters: int, seconds: float
) -> Response:
    """TEI's own, in milliseconds; and the fingerprint of an adapter that was used."""
    timing = done.timing
    times = {
        "x-compute-time": seconds,
        "x-total-time": seconds,
        "x-tokenization-time": timing.tokenize,
        "x-queue-time": timing.queue,
        "x-inference-time": timing.inference,
    }
    response.headers.update({name: f"{time * 1000:.0f}" for name, time in times.items()})
    response.headers["x-compute-characters"] = str(characters)
    response.headers["x-compute-tokens"] = str(done.tokens)
    return marked(response, done)
