"""Search by floats, integers and bits, against the plain definition of each."""

import numpy as np
import pytest

from kubeembed_runtime.evaluation import search
from kubeembed_runtime.evaluation.search import KINDS, best, bits, int8, searched
from kubeembed_runtime.precision import Floats, quantize, restore

DIMENSIONS = [384, 100, 3]  # bits that fill words, bytes but no words, and neither


def drawn(count: int, dimensions: int, seed: int = 0) -> Floats:
    vectors = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_scores_by_bits_are_hamming_distances(dimensions: int) -> None:
    documents, queries = drawn(50, dimensions), drawn(4, dimensions, seed=1)
    differ = (queries[:, None] > 0) != (documents[None] > 0)
    assert np.array_equal(bits(documents)(queries), -differ.sum(axis=2))


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_scores_by_int8_are_products_of_what_the_server_would_send(dimensions: int) -> None:
    documents, queries = drawn(50, dimensions), drawn(4, dimensions, seed=1)
    theirs, ours = (restore(quantize(side, "int8")) for side in (documents, queries))
    found = int8(documents)(queries)
    assert np.allclose(found, ours @ theirs.T, atol=1e-6)
    assert not np.allclose(found, queries @ documents.T, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 5, 6, 9])
def test_the_best_are_in_order_and_of_equal_ones_the_first(count: int) -> None:
    scores = np.array([1, 3, 2, 3, 1, 2], dtype=np.float32)
    assert best(scores, count).tolist() == [1, 3, 2, 5, 0, 4][:count]


def test_each_kind_finds_what_its_scores_say_however_little_fits_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    documents, queries = drawn(200, 32), drawn(7, 32, seed=1)
    whole = dict(searched(documents, queries, 10))
    assert tuple(whole) == KINDS
    by_float = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :10]
    assert np.array_equal(np.stack(whole["float"]), by_float)
    monkeypatch.setattr(search, "_BLOCK", 400)  # two queries at once
    for kind, places in searched(documents, queries, 10):
        assert np.array_equal(np.stack(places), np.stack(whole[kind])), kind


def test_rescoring_brings_back_what_bits_lost() -> None:
    documents, queries = drawn(500, 64), drawn(20, 64, seed=1)
    found = {kind: np.stack(places) for kind, places in searched(documents, queries, 10)}
    kept = {
        kind: sum(len(np.intersect1d(a, b)) for a, b in zip(places, found["float"], strict=True))
        for kind, places in found.items()
    }
    assert kept["float"] == 200
    assert kept["binary"] < kept["binary, rescored"] <= kept["int8"] <= 200
    near = search.exhaustively(bits(documents), queries, 500, 40)
    for candidates, chosen in zip(near, found["binary, rescored"], strict=True):
        assert set(chosen) <= set(candidates)
