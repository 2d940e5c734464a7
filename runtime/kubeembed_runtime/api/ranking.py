"""Scores of documents -> what the rerank contracts call relevance, best first.

A cross-encoder's score is its logit; the sigmoid makes a number between 0 and 1 of it, as TEI, Infinity and
Cohere have it. MaxSim is a sum (BGE-M3: a mean) of cosines with no such meaning, and is given as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.requests import Vector


@dataclass(frozen=True, slots=True)
class Ranked:
    """index: of the document in the request."""

    index: int
    score: float


def ranked(logits: Vector, info: RuntimeInfo, *, raw: bool = False) -> list[Ranked]:
    """logits: (documents,), as asked for with `raw`. Equal scores keep the documents' order."""
    return best_first(relevance(logits, info, raw=raw))


def relevance(logits: Vector, info: RuntimeInfo, *, raw: bool = False) -> Vector:
    """In the order of the documents."""
    return logits if raw or "score" not in info.outputs else sigmoid(logits)


def best_first(scores: Vector) -> list[Ranked]:
    """scores: (n,). Equal ones keep their order."""
    order = np.argsort(-scores, kind="stable")
    return [Ranked(int(place), float(scores[place])) for place in order]


def sigmoid(logits: Vector) -> Vector:
    """Of any shape, and without overflow."""
    half: Vector = 0.5 * (1 + np.tanh(0.5 * logits))
    return half


@dataclass(frozen=True, slots=True)
class Label:
    """A class of a classifier, by its name in the model's files. place: among all, in the model's order."""

    label: str
    score: float
    place: int


def labelled(logits: Vector, names: Sequence[str], *, raw: bool = False) -> list[Label]:
    """logits: (labels,); best first. Softmax over several, sigmoid of a single one, or as they are."""
    scores = logits if raw else sigmoid(logits) if len(logits) == 1 else _softmax(logits)
    named = [*names, *(f"LABEL_{place}" for place in range(len(names), len(logits)))]
    return [Label(named[one.index], one.score, one.index) for one in best_first(scores)]


def _softmax(logits: Vector) -> Vector:
    powers = np.exp(logits - logits.max())
    shares: Vector = powers / powers.sum()
    return shares
