"""The multi-vector head by the formulas of those who defined it."""

from typing import Any

import numpy as np
import torch

from headkit import colbert
from kubeembed_runtime.model.heads.layers import Layer
from kubeembed_runtime.model.heads.multivector import Multivector
from kubeembed_runtime.model.packing import batch
from kubeembed_runtime.requests import Item, Side

CPU = torch.device("cpu")
CLS, SEP, QUERY, DOCUMENT, COMMA, MASK = 1, 2, 3, 4, 5, 6
WIDTH = 8


def item(ids: list[int], side: Side | None = None, attended: int | None = None) -> Item:
    return Item(ids=ids, outputs=("multivector",), side=side, attended=attended)


def states(given: list[Item]) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(sum(one.tokens for one in given), WIDTH)


def pylate(hidden: Any, weight: Any, ids: list[int], *, is_query: bool, skiplist: list[int]) -> Any:
    """PyLate's ColBERT.encode for one text: project, normalise, mask."""
    vectors = colbert(hidden, weight)
    return vectors if is_query else vectors[[token not in skiplist for token in ids]]


def test_colbert_keeps_a_query_s_masks_and_drops_a_document_s_punctuation() -> None:
    given = [
        item([CLS, QUERY, 30, COMMA, SEP, MASK, MASK], "query", attended=5),
        item([CLS, DOCUMENT, 30, COMMA, 31, COMMA, SEP], "document"),
        item([CLS, DOCUMENT, COMMA, 32, SEP]),
    ]
    hidden, weight = states(given), torch.randn(4, WIDTH)
    head = Multivector(projections=[Layer(weight=weight)], normalize=True, skip=[COMMA, 99])
    found = head(hidden, batch(given, CPU), given, [0, 1, 2])
    assert [len(vectors) for vectors in found] == [7, 5, 4]
    for ours, one, part in zip(found, given, hidden.split([7, 7, 5]), strict=True):
        query = one.side == "query"
        wanted = pylate(part, weight, list(one.ids), is_query=query, skiplist=[COMMA])
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, wanted, atol=1e-6)


def test_bge_m3_leaves_the_first_token_out_on_both_sides() -> None:
    """FlagEmbedding: colbert_linear(last_hidden_state[:, 1:]), normalised; EOS keeps its vector."""
    given = [item([CLS, 30, COMMA, SEP], "query"), item([CLS, SEP]), item([CLS, COMMA, 8, 9, SEP])]
    hidden, weight, bias = states(given), torch.randn(WIDTH, WIDTH), torch.randn(WIDTH)
    layer = Layer(weight=weight, bias=bias)
    head = Multivector(projections=[layer], normalize=True, skip_first=True)
    found = head(hidden, batch(given, CPU), given, [2, 0])
    parts = hidden.split([4, 2, 5])
    for ours, part in zip(found, [parts[2], parts[0]], strict=True):
        np.testing.assert_allclose(ours, colbert(part[1:], weight, bias), atol=1e-6)


def test_projections_follow_each_other_and_norms_may_stay() -> None:
    given = [item([CLS, 30, SEP])]
    hidden, first, second = states(given), torch.randn(6, WIDTH), torch.randn(4, 6)
    layers = [Layer(weight=first), Layer(weight=second, residual=False)]
    head = Multivector(projections=layers, normalize=False)
    (ours,) = head(hidden, batch(given, CPU), given, [0])
    np.testing.assert_allclose(ours, hidden @ first.T @ second.T, rtol=1e-5)
