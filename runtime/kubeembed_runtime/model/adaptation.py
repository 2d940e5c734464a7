"""The adapters of one packed batch, applied: y[span] += (x[span] A) B for each adapter's span.

On a CPU that is a loop over spans, which there is as fast as stacking the pairs first. On CUDA the launches
of that loop would dominate, so in half precision it is one kernel.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from kubeembed_runtime.model.fused import fused, loaded
from kubeembed_runtime.model.lora import Delta, LoraAdapter, Site
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
        return Whole(loaded(spans[0]))
    return fused(spans, like) or Segments(spans)


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
            (span.start, span.end, loaded(span).deltas) for span in spans if span.adapter
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
