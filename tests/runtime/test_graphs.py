"""Small batches replayed from fixed sizes. On a CPU what is recorded is run again."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kernelkit import add_adapters
from kubeembed_api.document import parse
from kubeembed_runtime.model import fused
from kubeembed_runtime.model.adaptation import Adaptation, adaptation
from kubeembed_runtime.model.bert import Bert
from kubeembed_runtime.model.encoder import Encoder, load
from kubeembed_runtime.model.graphs import SIZES, Graph, Replayed, Run, Size, replayed, sizes
from kubeembed_runtime.model.lora import LoraAdapter, Pair, lora_adapter, site
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


SITES = tuple(site(name, torch.zeros(8, 8)) for name in ("words", "other"))


def adapter(path: str) -> LoraAdapter:
    """Changes that site."""
    pair = Pair(down=torch.randn(8, 8), up=torch.randn(8, 8))
    return lora_adapter(
        {path: pair},
        SITES,
        name=path,
        fingerprint="",
        base=None,
        dtype=torch.float32,
        device=CPU,
    )


def adapting(given: Batch, adapted: Adaptation | None = None) -> Tensor:
    """As `body`, with what adapters add to it."""
    hidden = body(given)
    adapted = adapted or adaptation(given.spans, hidden)
    if adapted is not None:
        for each in SITES:
            adapted.add(hidden, WORDS[given.ids], each)
    return hidden


def with_adapters(monkeypatch: pytest.MonkeyPatch) -> tuple[Replayed, list[Size]]:
    """Of `adapting`, with room for adapters of words; and the sizes that it replays from now on."""
    monkeypatch.setattr(fused, "adding", lambda dtype, device: add_adapters)
    empty = partial(fused.room, like=WORDS, changed=SITES[:1], order=SITES)
    found = replayed(
        adapting,
        vocabulary=50,
        limit=256,
        device=CPU,
        record=record,
        room=empty,
        timed=timing(5.0),
    )
    ran: list[Size] = []
    for graph in found.adapted:
        again, size = graph._replay, graph.size
        graph._replay = lambda again=again, size=size: (ran.append(size), again())  # type: ignore[misc]
    return found, ran


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
    graph = Graph(body, size, CPU, record)
    pair, part = Item(ids=[1, 2, 3], second=2), Item(ids=[1, 2, 3], attended=2)
    adapted = Item(ids=[1, 2, 3], adapter=adapter("words"))
    assert [graph.holds(batch([item], CPU)) for item in (pair, part, adapted)] == [False] * 3


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


@torch.inference_mode()
def test_a_batch_with_adapters_is_replayed_whatever_these_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, ran = with_adapters(monkeypatch)
    assert [graph.size for graph in found.adapted] == [graph.size for graph in found.graphs]
    one, other = adapter("words"), adapter("words")
    for held in ((one, other), (None, other), (other, one), (one, one)):
        pair = zip(items(5, 4), held, strict=True)
        given = batch([replace(item, adapter=each) for item, each in pair], CPU)
        torch.testing.assert_close(found(given), adapting(given))
    assert [size.tokens for size in ran] == [16] * 4


@torch.inference_mode()
def test_adapters_that_change_other_layers_are_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    found, ran = with_adapters(monkeypatch)
    given = batch([replace(items(5)[0], adapter=adapter("other"))], CPU)
    torch.testing.assert_close(found(given), adapting(given))
    assert ran == []


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


@pytest.mark.gpu
def test_a_gpu_replays_adapters_and_mixes_them_with_what_has_none(
    minilm: Path, document: Callable[..., dict[str, Any]]
) -> None:
    encoder = load(minilm, parse(document(minilm, dtype="bfloat16")), 1)
    assert isinstance(encoder.body, Bert)
    adapters = [loaded(encoder, seed) for seed in range(9)]
    mixes = [items(*[12] * 9), items(30, 4, 200), items(*range(10, 60))]
    given = [
        [replace(item, adapter=[*adapters, None][n % 10]) for n, item in enumerate(mix)]
        for mix in mixes
    ]
    launched = [encoder(each) for each in given]
    alone = [[encoder([item])[0] for item in each] for each in given]
    encoder.warm_up(4096)
    assert encoder._replayed is not None
    assert len(encoder._replayed.adapted) > 5
    for each, before, single in zip(given, launched, alone, strict=True):
        for one, other, third in zip(before, encoder(each), single, strict=True):
            assert float((one.dense * other.dense).sum()) >= 0.9995  # type: ignore[operator]
            assert float((third.dense * other.dense).sum()) >= 0.9995  # type: ignore[operator]


def loaded(encoder: Encoder, seed: int) -> LoraAdapter:
    """Changes queries and values, enough to be told from the others."""
    torch.manual_seed(seed)
    assert isinstance(encoder.body, Bert)
    pairs = {
        part.path: Pair(down=torch.randn(384, 8) * 0.05, up=torch.randn(8, 384) * 0.05)
        for one in encoder.body.usual_sites
        for part in one.parts
        if not part.path.endswith("key")
    }
    return lora_adapter(
        pairs,
        encoder.body.sites,
        name=str(seed),
        fingerprint="",
        base=None,
        dtype=torch.bfloat16,
        device=encoder.device,
    )
