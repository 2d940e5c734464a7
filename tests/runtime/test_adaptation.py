"""The products of a batch's adapters, however they are computed, against the formula token by token."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from kernelkit import add_adapters
from kubeembed_runtime.model import fused
from kubeembed_runtime.model.adaptation import Segments, Whole, adaptation
from kubeembed_runtime.model.fused import MOST_SPANS, ROWS, Fused, room, tiles
from kubeembed_runtime.model.lora import (
    MOST_RANKS,
    TILE,
    LoraAdapter,
    Pair,
    Part,
    Site,
    lora_adapter,
)
from kubeembed_runtime.model.packing import Span

CPU = torch.device("cpu")
FUSED = Site(
    name="qkv",
    inputs=16,
    parts=tuple(
        Part(path=path, start=24 * index, end=24 * index + 24)
        for index, path in enumerate(("query", "key", "value"))
    ),
)
ALONE = Site(name="out", inputs=32, parts=(Part(path="out", start=0, end=8),))
SITES = (FUSED, ALONE)
WIDTHS = {"query": (16, 24), "key": (16, 24), "value": (16, 24), "out": (32, 8)}


def pairs(seed: int, **ranks: int) -> dict[str, Pair]:
    torch.manual_seed(seed)
    return {
        path: Pair(down=torch.randn(WIDTHS[path][0], r), up=torch.randn(r, WIDTHS[path][1]))
        for path, r in ranks.items()
    }


#: Of three layouts: two alike, one with other ranks, one that changes another layer.
PAIRS = {
    "a": pairs(1, query=4, value=4),
    "b": pairs(2, query=4, value=4),
    "c": pairs(3, query=3, value=9),
    "d": pairs(4, key=2, out=5),
}

BATCHES: dict[str, Sequence[tuple[str | None, int]]] = {
    "one adapter": [("a", 7)],
    "one adapter, and none": [(None, 3), ("a", 4)],
    "two of one layout": [("a", 1), ("b", 6)],
    "none at the end": [("a", 2), ("b", 2), (None, 5)],
    "one twice": [("a", 2), ("b", 3), ("a", 4)],
    "all": [(None, 2), ("a", 3), ("d", 1), ("b", 4), ("c", 2), ("a", 5)],
    "of several tiles": [("a", 40), (None, 3), ("d", 17), ("c", 16)],
}


def made(name: str, alignment: int, device: torch.device, dtype: torch.dtype) -> LoraAdapter:
    return lora_adapter(
        PAIRS[name],
        SITES,
        name=name,
        fingerprint=name,
        base=None,
        dtype=dtype,
        device=device,
        alignment=alignment,
    )


def spans(batch: Sequence[tuple[str | None, int]], *how: object) -> list[Span]:
    adapters = {name: made(name, *how) for name in PAIRS}
    found, start = [], 0
    for name, length in batch:
        adapter = None if name is None else adapters[name]
        found.append(Span(adapter=adapter, start=start, end=start + length))
        start += length
    return found


def wanted(batch: Sequence[tuple[str | None, int]], site: Site, x: Tensor, y: Tensor) -> Tensor:
    """Token by token, part by part."""
    names = [name for name, length in batch for _ in range(length)]
    result = y.clone()
    for row, name in enumerate(names):
        for part in site.parts:
            if name is not None and part.path in PAIRS[name]:
                pair = PAIRS[name][part.path]
                result[row, part.start : part.end] += x[row] @ pair.down @ pair.up
    return result


def given(site: Site, tokens: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(9)
    return torch.randn(tokens, site.inputs), torch.randn(tokens, site.parts[-1].end)


@pytest.mark.parametrize("alignment", [1, TILE])
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_each_token_gets_its_own_adapter_s_product_in_its_own_columns(
    batch: Sequence[tuple[str | None, int]], alignment: int
) -> None:
    told = spans(batch, alignment, CPU, torch.float32)
    for site in SITES:
        x, y = given(site, told[-1].end)
        expected = wanted(batch, site, x, y)
        Segments(told).add(y, x, site)
        torch.testing.assert_close(y, expected)


@pytest.fixture(
    params=[
        ("cpu", torch.float32, 1e-4),
        pytest.param(("cuda", torch.bfloat16, 0.05), marks=pytest.mark.gpu),
        pytest.param(("cuda", torch.float16, 0.01), marks=pytest.mark.gpu),
    ],
    ids=["emulated", "bfloat16", "float16"],
)
def where(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[torch.device, torch.dtype, float]:
    """Device and precision with a kernel, and how far its results may be off."""
    device, dtype, close = request.param
    if device == "cpu":
        monkeypatch.setattr(fused, "adding", lambda dtype, device: add_adapters)
    return torch.device(device), dtype, close


Where = tuple[torch.device, torch.dtype, float]


def check(adapted: Fused, batch: Sequence[tuple[str | None, int]], where: Where) -> None:
    """Does it add what it should, at every site, and nothing in the rows after the batch?"""
    device, dtype, close = where
    tokens = sum(length for _, length in batch)
    for site in SITES:
        x, y = given(site, tokens + 5)
        expected = wanted([*batch, (None, 5)], site, x, y)
        changed = y.to(device, dtype)
        adapted.add(changed, x.to(device, dtype), site)
        scale = float(expected.abs().max())
        torch.testing.assert_close(changed.float().cpu(), expected, atol=close * scale, rtol=0)


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_one_kernel_gives_the_same_for_any_mix_of_layouts(
    batch: Sequence[tuple[str | None, int]], where: Where
) -> None:
    device, dtype, _ = where
    told = spans(batch, TILE, device, dtype)
    adapted = fused.fused(told, torch.zeros(1, dtype=dtype, device=device))
    assert adapted is not None
    check(adapted, batch, where)


def test_what_was_made_without_adapters_is_of_those_that_it_is_given(where: Where) -> None:
    device, dtype, _ = where
    like = torch.zeros(1, dtype=dtype, device=device)
    adapted = room(64, like=like, changed=SITES, order=SITES)
    assert adapted is not None
    for batch in ([(None, 9)], [("a", 40), ("d", 17)], [("c", 1)], [(None, 9)]):
        held = spans(batch, TILE, device, dtype)
        adapted.replace(held)
        check(adapted, batch, where)


def test_there_is_room_for_few_spans_of_adapters_that_change_no_other_site() -> None:
    add: Any = add_adapters
    first = made("a", TILE, CPU, torch.float32)
    empty = torch.zeros(100, 4, dtype=torch.int64)
    adapted = Fused(add, empty, {"qkv"}, first.order)
    a, c, d = (spans([(name, 1)], TILE, CPU, torch.float32) for name in "acd")
    odd = spans([("c", 1)], 1, CPU, torch.float32)
    assert [adapted.holds(each) for each in (a, c, d, odd)] == [True, True, False, False]
    assert [adapted.holds(a * count) for count in (0, MOST_SPANS, MOST_SPANS + 1)] == [
        False,
        True,
        False,
    ]


def test_a_tile_has_rows_of_one_adapter() -> None:
    told = spans([("a", 2 * ROWS + 1), (None, 3), ("b", 2)], TILE, CPU, torch.float32)
    a, b = (span.adapter.addresses for span in (told[0], told[2]) if span.adapter)
    expected = [(*a, 0, ROWS), (*a, ROWS, ROWS), (*a, 2 * ROWS, 1), (*b, 2 * ROWS + 4, 2)]
    assert tiles(told).tolist() == [list(row) for row in expected]


def test_what_the_kernel_does_not_take_is_told() -> None:
    assert not made("c", 1, CPU, torch.float32).tiled
    assert made("c", TILE, CPU, torch.float32).tiled
    large = MOST_RANKS // 2 + 1
    wide = lora_adapter(
        pairs(5, query=large, value=large),
        SITES,
        name="wide",
        fingerprint="",
        base=None,
        dtype=torch.float32,
        device=CPU,
        alignment=TILE,
    )
    assert not wide.tiled


def test_without_a_kernel_it_is_a_product_per_span() -> None:
    told = spans([("a", 1), ("b", 2)], TILE, CPU, torch.float32)
    assert isinstance(adaptation(told, torch.zeros(1)), Segments)


def test_one_adapter_changes_all_rows_however_many_a_layer_has() -> None:
    told = spans([("a", 7)], 1, CPU, torch.float32)
    adapted = adaptation(told, torch.zeros(1))
    assert isinstance(adapted, Whole)
    x, y = given(FUSED, 11)
    expected = wanted([("a", 11)], FUSED, x, y)
    adapted.add(y, x, FUSED)
    torch.testing.assert_close(y, expected)


def test_without_adapters_nothing_is_added() -> None:
    assert adaptation((), torch.zeros(1)) is None
    assert adaptation([Span(adapter=None, start=0, end=3)], torch.zeros(1)) is None


def test_equal_layouts_are_one_object() -> None:
    a, b, c = (made(name, 1, CPU, torch.float32) for name in "abc")
    assert a.layout is b.layout
    assert a.layout is not c.layout


def test_an_adapter_has_the_bytes_of_its_matrices() -> None:
    numbers = sum(p.down.numel() + p.up.numel() for p in PAIRS["c"].values())
    assert made("c", 1, CPU, torch.float32).bytes == 4 * numbers
    assert made("c", 1, CPU, torch.bfloat16).bytes == 2 * numbers
