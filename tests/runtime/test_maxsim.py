import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeembed_runtime.maxsim import NO_TOKENS, maxsim
from kubeembed_runtime.requests import Vector


def vectors(*lengths: int, width: int = 4, seed: int = 0) -> list[Vector]:
    made = np.random.default_rng(seed)
    return [made.standard_normal((length, width), dtype=np.float32) for length in lengths]


def test_each_query_token_finds_its_best() -> None:
    query = np.array([[1, 0], [0, 1]], dtype=np.float32)
    document = np.array([[0.5, 0.1], [0.2, 0.9], [0.7, -1]], dtype=np.float32)
    assert maxsim(query, [document]).tolist() == pytest.approx([0.7 + 0.9])
    assert maxsim(query, [document], mean=True).tolist() == pytest.approx([(0.7 + 0.9) / 2])


@settings(deadline=None)  # other processes share the cores
@given(
    lengths=st.lists(st.integers(0, 6), max_size=8),
    tokens=st.integers(1, 5),
    products=st.integers(1, 60),
)
def test_documents_are_scored_as_if_alone(lengths: list[int], tokens: int, products: int) -> None:
    (query,), documents = vectors(tokens, seed=1), vectors(*lengths)
    wanted = [
        (query @ document.T).max(axis=1).sum() if len(document) else NO_TOKENS
        for document in documents
    ]
    scores = maxsim(query, documents, products=products)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, wanted, rtol=1e-5, atol=1e-5)


def test_a_document_without_tokens_comes_last() -> None:
    (query,), documents = vectors(3), vectors(2, 0, 5)
    scores = maxsim(query, documents, mean=True)
    assert scores.argmin() == 1
    assert np.isfinite(scores).all()


def test_two_long_texts_hold_no_more_products_than_they_may() -> None:
    query, document = vectors(1000, 1000)
    tracemalloc.start()
    try:
        found = maxsim(query, [document], products=10_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == pytest.approx([(query @ document.T).max(axis=1).sum()], rel=1e-5)
    assert most < 200_000  # bytes; all products at once are 4,000,000
