"""Texts -> how alike they are, by what the model gives: cosines, products of sparse vectors, or scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from kubeembed_api.golden import Side, cosine
from kubeembed_cli.errors import CommandFailed
from kubeembed_cli.server import Served, Server, Sparse

Measure = Literal["cosine", "dot", "score"]
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """values: a row for each text, a column for each query, or for each text where there are no queries."""

    model: str
    fingerprint: str
    measure: Measure
    texts: tuple[str, ...]
    queries: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]

    def as_json(self) -> Mapping[str, Any]:
        return asdict(self)


def compare(
    server: Server, about: Served, texts: Sequence[str], queries: Sequence[str]
) -> Comparison:
    """Raises CommandFailed where there are too few texts, NotServing where the server says no."""
    if "dense" in about.outputs:
        return _vectors(about, "cosine", server.embed, cosine, texts, queries)
    if "sparse" in about.outputs:
        return _vectors(about, "dot", server.embed_sparse, dot, texts, queries)
    return _scores(server, about, texts, queries)


def dot(one: Sparse, other: Sparse) -> float:
    """Of two sparse vectors."""
    return sum(one[token] * other[token] for token in one.keys() & other.keys())


def _vectors(
    about: Served,
    measure: Measure,
    embed: Callable[[Sequence[str], Side | None], Sequence[V]],
    alike: Callable[[V, V], float],
    texts: Sequence[str],
    queries: Sequence[str],
) -> Comparison:
    """Queries have their side only where there are some: texts alone are compared with each other."""
    rows = embed(texts, "document" if queries else None)
    columns = embed(queries, "query") if queries else rows
    values = tuple(tuple(alike(row, column) for column in columns) for row in rows)
    return _comparison(about, measure, texts, queries, values)


def _scores(
    server: Server, about: Served, texts: Sequence[str], queries: Sequence[str]
) -> Comparison:
    """Such a model compares a query with texts; the first text is one where none is named."""
    if not queries:
        queries, texts = texts[:1], texts[1:]
    if not texts:
        raise CommandFailed(f"{about.name} scores texts against a query: give a text more")
    columns = [server.score(query, texts) for query in queries]
    return _comparison(about, "score", texts, queries, tuple(zip(*columns, strict=True)))


def _comparison(
    about: Served,
    measure: Measure,
    texts: Sequence[str],
    queries: Sequence[str],
    values: tuple[tuple[float, ...], ...],
) -> Comparison:
    return Comparison(
        model=about.name,
        fingerprint=about.fingerprint,
        measure=measure,
        texts=tuple(texts),
        queries=tuple(queries),
        values=values,
    )
