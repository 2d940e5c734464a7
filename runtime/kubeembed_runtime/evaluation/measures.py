"""Rankings and judgements -> NDCG, MRR and recall, digit for digit those of trec_eval.

trec_eval holds scores in float32 and puts, of equal ones, the document with the larger id first. A query's
gain at a rank is its judgement over log2(rank + 1); unjudged and negative ones gain nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RANKED = 100  # how deep the measures look
FIRST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one query, or the mean over several. 0 to 1."""

    ndcg_at_10: float
    mrr_at_10: float
    recall_at_100: float


def ordered(scores: Mapping[str, float]) -> list[str]:
    """The documents, the best first, as trec_eval orders them."""
    return sorted(scores, key=lambda document: (np.float32(scores[document]), document))[::-1]


def measured(judged: Mapping[str, int], ranking: Sequence[str]) -> Figures:
    """Of one query. judged: grades by document; more than 0 is relevant. Nothing relevant gives zeros."""
    grades = [max(judged.get(document, 0), 0) for document in ranking[:RANKED]]
    best = sorted((grade for grade in judged.values() if grade > 0), reverse=True)
    if not best:
        return Figures(ndcg_at_10=0.0, mrr_at_10=0.0, recall_at_100=0.0)
    rank = next((rank for rank, grade in enumerate(grades[:FIRST], start=1) if grade), None)
    return Figures(
        ndcg_at_10=_gain(grades[:FIRST]) / _gain(best[:FIRST]),
        mrr_at_10=1 / rank if rank else 0.0,
        recall_at_100=sum(grade > 0 for grade in grades) / len(best),
    )


def mean(figures: Iterable[Figures]) -> Figures:
    """Over queries, of which there must be one."""
    every = list(figures)
    return Figures(
        ndcg_at_10=sum(one.ndcg_at_10 for one in every) / len(every),
        mrr_at_10=sum(one.mrr_at_10 for one in every) / len(every),
        recall_at_100=sum(one.recall_at_100 for one in every) / len(every),
    )


def _gain(grades: Sequence[int]) -> float:
    """Discounted, summed in the order of the ranks: floats add up to other digits in another."""
    total = 0.0
    for rank, grade in enumerate(grades, start=1):
        total += grade / math.log2(rank + 1)
    return total
