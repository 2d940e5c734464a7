"""The sparse heads by their formulas, and how much they hold at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from headkit import lexical
from kubeembed_runtime.model.heads.layers import Layer
from kubeembed_runtime.model.heads.sparse import Linear, Mlm, Share, windows
from kubeembed_runtime.model.packing import batch
from kubeembed_runtime.requests import Item, Sparse

CPU = torch.device("cpu")
VOCABULARY, WIDTH = 50, 8


def items(lengths: Sequence[int]) -> list[Item]:
    """Sequences of these lengths, of ids that come again within one."""
    made = np.random.default_rng(3)
    return [
        Item(ids=made.integers(0, 9, length).tolist(), outputs=("sparse",)) for length in lengths
    ]


def states(given: Sequence[Item]) -> torch.Tensor:
    torch.manual_seed(4)
    return torch.randn(sum(item.tokens for item in given), WIDTH)


def dense(sparse: Sparse) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Over the whole vocabulary; indices rise and values are above 0."""
    assert sparse.indices.dtype == np.int32
    assert sparse.values.dtype == np.float32
    assert (np.diff(sparse.indices) > 0).all()
    assert (sparse.values > 0).all()
    whole = np.zeros(VOCABULARY, dtype=np.float32)
    whole[sparse.indices] = sparse.values
    return whole


def splade(share: Share | None = None, skip: Sequence[int] = ()) -> Mlm:
    torch.manual_seed(5)
    transform = Layer(weight=torch.randn(WIDTH, WIDTH), activation=torch.tanh)
    decoder = Layer(weight=torch.randn(VOCABULARY, WIDTH), bias=torch.randn(VOCABULARY) - 1)
    return Mlm(
        transform=transform, decoder=decoder, activation="log1p_relu", skip=skip, share=share
    )


def plain(head: Mlm, hidden: torch.Tensor) -> torch.Tensor:
    """The logits of all tokens at once."""
    return torch.nn.functional.linear(head.transform(hidden), head.weight, head.bias)


@pytest.mark.parametrize(
    ("rows", "most", "wanted"),
    [
        (1, 9, [([1], True), ([1], True), ([1], False), ([1], False), ([1], True), ([1], False)]),
        (2, 9, [([2], True), ([1, 1], False), ([2], False)]),
        (5, 9, [([3, 1, 1], True), ([1], False)]),
        (6, 9, [([3, 1, 2], False)]),
        (9, 9, [([3, 1, 2], False)]),
        (9, 2, [([3, 1], False), ([2], False)]),
        (2, 1, [([2], True), ([1], False), ([1], False), ([2], False)]),
    ],
)
def test_windows_cut_sequences(rows: int, most: int, wanted: list[tuple[list[int], bool]]) -> None:
    assert list(windows([3, 1, 2], rows, most)) == wanted


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("sequences", [1, 2, 100])
def test_shares_change_nothing(rows: int, block: int, sequences: int) -> None:
    given = items([3, 1, 10, 2, 2, 4])
    hidden, head = states(given), splade(Share(rows, block, sequences * VOCABULARY))
    logits = plain(head, hidden)
    found = head(hidden, batch(given, CPU), given, range(6))
    for sparse, part in zip(found, logits.split([3, 1, 10, 2, 2, 4]), strict=True):
        wanted = torch.log1p(torch.relu(part)).max(0).values
        np.testing.assert_allclose(dense(sparse), wanted, atol=1e-6)


@settings(deadline=None)  # other processes share the cores
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9), rows=st.integers(1, 20))
def test_any_lengths_fit_any_window(lengths: list[int], rows: int) -> None:
    given, head = items(lengths), splade(Share(rows, 20, 4 * VOCABULARY))
    hidden, packed = states(given), batch(given, CPU)
    places = range(0, len(lengths), 2)
    found = head(hidden, packed, given, places)
    parts = plain(head, hidden).split(lengths)
    for sparse, place in zip(found, places, strict=True):
        wanted = torch.log1p(torch.relu(parts[place])).max(0).values
        np.testing.assert_allclose(dense(sparse), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "wanted"),
    [("relu", 3.0), ("log1p_relu", np.log1p(3)), ("log1p_log1p_relu", np.log1p(np.log1p(3)))],
)
def test_activations_are_what_they_are_called(activation: str, wanted: float) -> None:
    identity = Layer(weight=torch.eye(2))
    head = Mlm(transform=identity, decoder=identity, activation=activation)
    given = [Item(ids=[7, 8], outputs=("sparse",))]
    (found,) = head(torch.tensor([[1.0, -1], [3, -2]]), batch(given, CPU), given, [0])
    assert found.indices.tolist() == [0]
    np.testing.assert_allclose(found.values, [wanted], rtol=1e-6)


def test_entries_that_are_skipped_are_in_no_answer() -> None:
    given = items([5, 6])
    hidden, packed = states(given), batch(given, CPU)
    whole = splade()(hidden, packed, given, [0, 1])
    skip = [int(whole[0].indices[0]), int(whole[1].indices[-1])]
    found = splade(skip=skip)(hidden, packed, given, [0, 1])
    for one, other in zip(found, whole, strict=True):
        kept = ~np.isin(other.indices, skip)
        assert one.indices.tolist() == other.indices[kept].tolist()
        assert one.values.tolist() == other.values[kept].tolist()


class Largest(TorchFunctionMode):
    """Counts the numbers in the largest tensor that any operation makes, views included."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = made if isinstance(made, list | tuple) else [made]
        sizes = [tensor.numel() for tensor in tensors if isinstance(tensor, torch.Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return made


@pytest.mark.parametrize("lengths", [[400], [1] * 400, [3, 90, 7] * 4], ids=["long", "many", "mix"])
def test_tokens_times_vocabulary_is_never_held(lengths: list[int]) -> None:
    given, head = items(lengths), splade(Share(20, 30, 20 * VOCABULARY))
    hidden, packed = states(given), batch(given, CPU)
    with Largest() as largest:
        found = head(hidden, packed, given, range(len(lengths)))
    assert len(found) == len(lengths)
    assert largest.numbers <= 20 * VOCABULARY
    assert sum(lengths) * VOCABULARY >= 15 * largest.numbers


def test_linear_is_bge_m3_s_formula() -> None:
    given = items([1, 7, 7, 20])
    hidden = states(given)
    torch.manual_seed(6)
    layer = Layer(weight=torch.randn(1, WIDTH), bias=torch.randn(1))
    head = Linear(layer=layer, activation="relu", skip=[0, 2])
    found = head(hidden, batch(given, CPU), given, [3, 0, 1])
    parts = torch.relu(layer(hidden)).squeeze(1).split([1, 7, 7, 20])
    for sparse, place in zip(found, [3, 0, 1], strict=True):
        dense(sparse)
        wanted = lexical(given[place].ids, parts[place].tolist(), {0, 2})
        ours = dict(zip(sparse.indices.tolist(), sparse.values.tolist(), strict=True))
        assert ours.keys() == wanted.keys()
        assert ours == pytest.approx(wanted, rel=1e-6)
