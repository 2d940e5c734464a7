"""The adapters of one packed batch, applied: y[span] += (x[span] A) B for each adapter's span.

On a CPU, and in every dtype but bfloat16, that is a loop over spans, which there is as fast as stacking the
pairs first. On CUDA the launches of that loop would dominate, so it is a grouped product.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm

from kubeembed_runtime.model.lora import Delta, Layout, LoraAdapter, Site
from kubeembed_runtime.model.packing import Span


class Adaptation(Protocol):
    """What the adapters of one batch add."""

    def changes(self, site: Site) -> bool:
        """Does any of them add something here?"""
        ...

    def add(self, y: Tensor, x: Tensor, site: Site) -> None:
        """Adds to y, in place. y: (t, out), x: (t, in): the site's result without adapters, and its input."""
        ...


def adaptation(spans: Sequence[Span], like: Tensor) -> Adaptation | None:
    """None where the spans have no adapter. `like` has the device and dtype of the hidden states.

    One span is over all rows, however many a site has.
    """
    if all(span.adapter is None for span in spans):
        return None
    if len(spans) == 1:
        return Whole(_loaded(spans[0]))
    aligned = all(_loaded(span).aligned for span in spans if span.adapter)
    if like.is_cuda and like.dtype is torch.bfloat16 and aligned:
        return Grouped(spans, like.device)
    return Segments(spans)


class Whole:
    """One adapter for all rows."""

    def __init__(self, adapter: LoraAdapter) -> None:
        self._deltas = adapter.deltas

    def changes(self, site: Site) -> bool:
        """As Adaptation has it."""
        return site.name in self._deltas

    def add(self, y: Tensor, x: Tensor, site: Site) -> None:
        """As Adaptation has it."""
        delta = self._deltas.get(site.name)
        if delta is not None:
            _add(y, x, delta)


class Segments:
    """One pair of products per span."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._segments = [
            (span.start, span.end, _loaded(span).deltas) for span in spans if span.adapter
        ]

    def changes(self, site: Site) -> bool:
        """As Adaptation has it."""
        return any(site.name in deltas for _, _, deltas in self._segments)

    def add(self, y: Tensor, x: Tensor, site: Site) -> None:
        """As Adaptation has it."""
        for start, end, deltas in self._segments:
            delta = deltas.get(site.name)
            if delta is not None:
                _add(y[start:end], x[start:end], delta)


def _add(y: Tensor, x: Tensor, delta: Delta) -> None:
    low = x @ delta.down  # (n, r)
    for up in delta.ups:
        y[:, up.columns].addmm_(low[:, up.ranks], up.up)


class Grouped:
    """One pair of grouped products per layout, whatever the number of adapters; stacked once a batch."""

    def __init__(self, spans: Sequence[Span], device: torch.device) -> None:
        """Neighbouring spans of one layout share a product."""
        self._blocks = [
            _Block(list(group), device)
            for layout, group in groupby(spans, key=_layout_of)
            if layout is not None
        ]

    def changes(self, site: Site) -> bool:
        """As Adaptation has it."""
        return any(site.name in block.deltas for block in self._blocks)

    def add(self, y: Tensor, x: Tensor, site: Site) -> None:
        """As Adaptation has it."""
        for block in self._blocks:
            delta = block.deltas.get(site.name)
            if delta is None:
                continue
            rows = slice(block.start, block.end)
            low = grouped_mm(x[rows], delta.down, offs=block.ends)  # (n, r)
            for up in delta.ups:
                y[rows, up.columns] += grouped_mm(low[:, up.ranks], up.up, offs=block.ends)


class _Block:
    """Neighbouring spans of one layout, their adapters stacked: deltas have (adapters, ...) tensors."""

    def __init__(self, spans: Sequence[Span], device: torch.device) -> None:
        self.start, self.end = spans[0].start, spans[-1].end
        adapters = [_loaded(span) for span in spans]
        stacked = torch.stack([adapter.flat for adapter in adapters])  # (g, n)
        self.deltas = {place.site: place.delta(stacked) for place in adapters[0].layout}
        ends = torch.tensor([span.end - self.start for span in spans], dtype=torch.int32)
        self.ends = (
            ends.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else ends
        )


def _loaded(span: Span) -> LoraAdapter:
    assert isinstance(span.adapter, LoraAdapter)
    return span.adapter


def _layout_of(span: Span) -> Layout | None:
    return None if span.adapter is None else _loaded(span).layout
