"""The story of one evaluation: texts -> vectors -> the best documents, reranked if so wanted -> figures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from kubeembed_runtime.evaluation.contracts import Side
from kubeembed_runtime.evaluation.dataset import Dataset
from kubeembed_runtime.evaluation.endpoint import Endpoint, batches
from kubeembed_runtime.evaluation.errors import EndpointFailed
from kubeembed_runtime.evaluation.measures import RANKED, Figures, mean, measured, ordered
from kubeembed_runtime.evaluation.progress import shown
from kubeembed_runtime.evaluation.search import searched
from kubeembed_runtime.precision import Floats

#: Requests under way at once: one computes while others are read, written and tokenised.
WORKERS = 4

#: The best documents of each query, by their ids, the best first.
Rankings = Mapping[str, Sequence[str]]

Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to ask and to compare.

    normalize: the vectors, so that dot products are cosines. identical: a document with the query's own id
    counts; without, it is left out, as BEIR does for ArguAna and Quora.
    """

    batch: int = 64
    normalize: bool = True
    identical: bool = True
    depth: int = RANKED  # so many documents of each query are reranked


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The figures of one kind of vector. reranked: None without a reranker."""

    kind: str
    alone: Figures
    reranked: Figures | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was found out. dimensions: of the vectors."""

    dimensions: int
    rows: Sequence[Row]


def evaluate(
    dataset: Dataset, embedder: Endpoint, reranker: Endpoint | None, options: Options
) -> Evaluation:
    """Raises EndpointFailed."""
    # trec_eval puts the larger id first where scores are equal; the search keeps the order of its documents.
    ids = sorted(dataset.documents, reverse=True)
    texts = [dataset.documents[name] for name in ids]
    documents = _vectors(embedder, texts, "document", options)
    queries = _vectors(embedder, list(dataset.queries.values()), "query", options)
    if documents.shape[1] != queries.shape[1]:
        problem = (
            f"gave {documents.shape[1]} dimensions for documents, {queries.shape[1]} for queries"
        )
        raise EndpointFailed(embedder.url, problem)
    found = _found(dataset, ids, documents, queries, options)
    scores = _scores(dataset, reranker, found, options) if reranker else None
    rows = [
        Row(
            kind=kind,
            alone=_figures(dataset, rankings),
            reranked=_figures(dataset, _reranked(rankings, scores, options)) if scores else None,
        )
        for kind, rankings in found.items()
    ]
    return Evaluation(dimensions=documents.shape[1], rows=rows)


def _vectors(endpoint: Endpoint, texts: Sequence[str], side: Side, options: Options) -> Floats:
    """(texts, d) float32."""
    parts = []
    what = "documents" if side == "document" else "queries"
    with shown(what, len(texts)) as done, ThreadPoolExecutor(WORKERS) as pool:
        asked = batches(texts, options.batch)
        for part in pool.map(lambda batch: endpoint.embed(batch, side), asked):
            parts.append(part)
            done(len(part))
    if len({part.shape[1] for part in parts}) > 1:
        raise EndpointFailed(endpoint.url, "gave vectors of different numbers of dimensions")
    vectors: Floats = np.concatenate(parts)
    if options.normalize:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(lengths > 0, lengths, np.float32(1))
    return vectors


def _found(
    dataset: Dataset, ids: Sequence[str], documents: Floats, queries: Floats, options: Options
) -> dict[str, Rankings]:
    """By kind of vector, as deep as measures and reranker look."""
    wanted = max(RANKED, options.depth)
    count = min(wanted + (not options.identical), len(ids))
    found: dict[str, Rankings] = {}
    for kind, places in searched(documents, queries, count):
        found[kind] = {
            query: [ids[place] for place in best if options.identical or ids[place] != query]
            for query, best in zip(dataset.queries, places, strict=True)
        }
    return found


def _scores(
    dataset: Dataset, reranker: Endpoint, found: Mapping[str, Rankings], options: Options
) -> Mapping[str, Scores]:
    """Of all documents that any kind of vector would have reranked: each pair is asked for once."""
    wanted = {
        query: list(dict.fromkeys(_heads(found.values(), query, options.depth)))
        for query in dataset.queries
    }

    def ask(query: str) -> Scores:
        texts = [dataset.documents[name] for name in wanted[query]]
        answered: list[float] = []
        for batch in batches(texts, options.batch):
            answered += reranker.rerank(dataset.queries[query], batch)
        return dict(zip(wanted[query], answered, strict=True))

    scores = {}
    with shown("reranked queries", len(wanted)) as done, ThreadPoolExecutor(WORKERS) as pool:
        for query, answered in zip(wanted, pool.map(ask, wanted), strict=True):
            scores[query] = answered
            done(1)
    return scores


def _heads(kinds: Iterable[Rankings], query: str, depth: int) -> Iterator[str]:
    for rankings in kinds:
        yield from rankings[query][:depth]


def _reranked(rankings: Rankings, scores: Mapping[str, Scores], options: Options) -> Rankings:
    """The first so many by their scores, the others below them as they were."""
    return {
        query: [
            *ordered({name: scores[query][name] for name in ranking[: options.depth]}),
            *ranking[options.depth :],
        ]
        for query, ranking in rankings.items()
    }


def _figures(dataset: Dataset, rankings: Rankings) -> Figures:
    judged = dataset.qrels
    return mean(measured(judged[query], ranking) for query, ranking in rankings.items())
