"""The products of a batch's adapters, however they are computed, against the formula token by token."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from kubeembed_runtime.model.adaptation import Grouped, Segments, Whole, adaptation
from kubeembed_runtime.model.lora import GROUPED_RANK, LoraAdapter, Pair, Part, Site, lora_adapter
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


@pytest.mark.parametrize("alignment", [1, GROUPED_RANK])
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


@pytest.mark.parametrize(
    ("dtype", "close"),
    [(torch.float32, (1e-5, 1e-4)), (torch.bfloat16, (0.5, 0.05))],
    ids=["float32", "bfloat16"],
)
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_a_grouped_product_gives_the_same(
    batch: Sequence[tuple[str | None, int]], dtype: torch.dtype, close: tuple[float, float]
) -> None:
    """On a CPU torch asks for the alignment that the GPU's kernel needs, too."""
    told = spans(batch, GROUPED_RANK, CPU, dtype)
    assert all(span.adapter.aligned for span in told if span.adapter)
    for site in SITES:
        x, y = given(site, told[-1].end)
        expected = wanted(batch, site, x, y)
        changed = y.to(dtype)
        Grouped(told, CPU).add(changed, x.to(dtype), site)
        torch.testing.assert_close(changed.float(), expected, atol=close[0], rtol=close[1])


def test_matrices_without_such_rows_are_told() -> None:
    assert not made("c", 1, CPU, torch.float32).aligned
    assert made("c", GROUPED_RANK, CPU, torch.float32).aligned


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


@pytest.mark.gpu
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_on_a_gpu_it_is_a_grouped_product_and_the_same(
    batch: Sequence[tuple[str | None, int]],
) -> None:
    device = torch.device("cuda")
    told = spans(batch, GROUPED_RANK, device, torch.bfloat16)
    adapted = adaptation(told, torch.zeros(1, device=device, dtype=torch.bfloat16))
    assert isinstance(adapted, Grouped if len(told) > 1 else Whole)
    for site in SITES:
        x, y = given(site, told[-1].end)
        expected = wanted(batch, site, x, y)
        changed = y.to(device, torch.bfloat16)
        adapted.add(changed, x.to(device, torch.bfloat16), site)
        torch.testing.assert_close(changed.float().cpu(), expected, atol=0.5, rtol=0.05)
