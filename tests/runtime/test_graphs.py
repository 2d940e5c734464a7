"""Small batches replayed from fixed sizes. On a CPU what is recorded is run again."""

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kubeembed_api.document import parse
from kubeembed_runtime.model.encoder import load
from kubeembed_runtime.model.graphs import SIZES, Graph, Replayed, Run, Size, replayed, sizes
from kubeembed_runtime.model.packing import Batch, batch
from kubeembed_runtime.requests import Item

CPU = torch.device("cpu")
WORDS = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))


def body(given: Batch) -> Tensor:
    """Each token's word and position, and the sum of its own sequence's words: found by `cumulative`."""
    words = WORDS[given.ids]
    ends = given.packing.cumulative[1:]
    sequence = torch.bucketize(torch.arange(given.ids.numel()), ends, right=True)
    sums = torch.zeros(ends.numel() + 1, WORDS.shape[1]).index_add(0, sequence, words)
    return words + given.positions[:, None] + sums[sequence]


def record(run: Run) -> tuple[Callable[[], object], Tensor]:
    hidden = run().clone()
    return lambda: hidden.copy_(run()), hidden


def items(*lengths: int) -> list[Item]:
    return [Item(ids=[(7 * n + place) % 50 for place in range(n)]) for n in lengths]


def timing(gain: float) -> Callable[[Run], float]:
    """Every second call is a graph's, and so many times as fast."""
    turns = count()
    return lambda run: 1.0 if next(turns) % 2 == 0 else 1 / gain


def tried(gain: float = 5.0, limit: int = 256, of: Callable[[Batch], Tensor] = body) -> Replayed:
    return replayed(of, vocabulary=50, limit=limit, device=CPU, record=record, timed=timing(gain))


@torch.inference_mode()
def test_a_graph_gives_the_same_whatever_ran_before_it() -> None:
    graph = Graph(body, Size(tokens=32, sequences=4, longest=16), CPU, record)
    for lengths in ([3], [16, 16], [1, 2, 3, 4], [5, 5], [3]):
        given = batch(items(*lengths), CPU)
        torch.testing.assert_close(graph(given), body(given))


@pytest.mark.parametrize(
    ("lengths", "held"),
    [((16, 16), True), ((8,) * 4, True), ((17,), False), ((16, 16, 1), False), ((1,) * 5, False)],
    ids=["full", "as many", "too long", "too large", "too many"],
)
def test_a_size_holds_what_fits(lengths: Sequence[int], held: bool) -> None:
    size = Size(tokens=32, sequences=4, longest=16)
    assert size.holds(batch(items(*lengths), CPU)) is held


def test_what_a_graph_does_not_compute_is_launched() -> None:
    size = Size(tokens=32, sequences=4, longest=16)
    pair, part = Item(ids=[1, 2, 3], second=2), Item(ids=[1, 2, 3], attended=2)
    adapted = Item(ids=[1, 2, 3], adapter=object())  # type: ignore[arg-type]
    assert [size.holds(batch([item], CPU)) for item in (pair, part, adapted)] == [False] * 3


@pytest.mark.parametrize("limit", [8, 64, 256, 8192])
def test_every_query_and_every_text_up_to_the_limit_has_a_size(limit: int) -> None:
    found = sizes(limit)
    for length in {1, limit // 2, min(limit, SIZES[-1])}:
        assert any(size.holds(batch(items(length), CPU)) for size in found)
    assert max(size.longest for size in found) <= limit
    assert [size.tokens for size in found] == sorted(size.tokens for size in found)


@torch.inference_mode()
def test_the_smallest_size_that_holds_a_batch_is_replayed() -> None:
    found = tried()
    ran: list[Size] = []
    for graph in found.graphs:
        replay, size = graph._replay, graph.size
        graph._replay = lambda replay=replay, size=size: (ran.append(size), replay())  # type: ignore[misc]
    for lengths in ([5], [12, 12], [200]):
        found(batch(items(*lengths), CPU))
    assert [(size.tokens, size.longest) for size in ran] == [(16, 16), (32, 32), (256, 256)]


def test_a_larger_batch_is_launched() -> None:
    given = batch(items(*[100] * 50), CPU)
    torch.testing.assert_close(tried()(given), body(given))


@pytest.mark.parametrize(("gain", "kept"), [(5.0, len(sizes(256))), (1.05, 0)])
def test_only_what_is_faster_is_kept(gain: float, kept: int) -> None:
    assert len(tried(gain).graphs) == kept


def test_what_is_not_the_same_is_not_kept() -> None:
    runs = count()

    def moody(given: Batch) -> Tensor:
        return body(given) if next(runs) % 2 else -body(given)

    assert tried(of=moody).graphs == ()


def test_a_model_that_cannot_be_recorded_is_launched() -> None:
    def refuse(run: Run) -> tuple[Callable[[], object], Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    found = replayed(body, vocabulary=50, limit=64, device=CPU, record=refuse, timed=timing(5))
    given = batch(items(3), CPU)
    torch.testing.assert_close(found(given), body(given))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_replays_what_it_would_compute(
    minilm: Path, document: Callable[..., dict[str, Any]]
) -> None:
    encoder = load(minilm, parse(document(minilm, dtype="bfloat16")), 1)
    mixed = [items(5), items(3, 250), items(*[20] * 40), items(7, 7, 7), items(5)]
    launched = [encoder(each) for each in mixed]
    encoder.warm_up(4096)
    assert encoder._replayed is not None
    assert len(encoder._replayed.graphs) > 5
    for before, each in zip(launched, mixed, strict=True):
        for one, other in zip(before, encoder(each), strict=True):
            assert float((one.dense * other.dense).sum()) >= 0.9999  # type: ignore[operator]
