"""TEI's replies: the shapes for the description, and how they are written."""

from collections.abc import Sequence

import msgspec
import numpy as np
from starlette.responses import Response

from kubeembed_runtime.api.vectors import array_reply
from kubeembed_runtime.requests import Sparse, Vector


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
