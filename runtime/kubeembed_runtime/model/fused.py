"""The adapters of one packed batch by a kernel of our own: one launch per site, however many there are.

A batch is cut into tiles of rows of one adapter each. What the kernel is launched with is the same for every
batch but for the numbers in the tiles, so a CUDA graph that was recorded without adapters serves all of them.
"""

from collections.abc import Mapping, Sequence, Set

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kubeembed_runtime.model.kernels import Kernel, kernel
from kubeembed_runtime.model.lora import (
    MOST_PARTS,
    MOST_RANKS,
    LoraAdapter,
    Site,
    order_of,
)
from kubeembed_runtime.model.packing import Span, pinned, put

#: Rows of a tile, and threads that have one: as add_adapters.cu has them.
ROWS = 16
THREADS = 512

#: Spans of a batch that there is room for where it is recorded. One without an adapter is a span, too.
MOST_SPANS = 64


def adding(dtype: torch.dtype, device: torch.device) -> Kernel | None:
    """The kernel, where this device and precision have one."""
    constants = {"MOST_RANKS": MOST_RANKS, "PARTS": MOST_PARTS}
    return kernel("add_adapters", "PPPiii", (THREADS, 1), dtype, device, **constants)


class Fused:
    """What the tiles say, whatever they are when it runs."""

    def __init__(
        self, add: Kernel, tiles: Tensor, changed: Set[str], order: Mapping[str, int]
    ) -> None:
        """tiles: (n, 4) int64 as `tiles` makes them; changed: names of sites; order: of these in tables."""
        self.tiles, self.changed, self._add, self._order = tiles, changed, add, order

    def changes(self, site: Site) -> bool:
        """As Adaptation has it."""
        return site.name in self.changed

    def add(self, y: Tensor, x: Tensor, site: Site) -> None:
        """As Adaptation has it."""
        if site.name in self.changed:
            x, place = x.contiguous(), self._order[site.name]
            given = (y.data_ptr(), x.data_ptr(), self.tiles.data_ptr())
            self._add(len(self.tiles), *given, y.stride(0), x.stride(0), place)

    def holds(self, spans: Sequence[Span]) -> bool:
        """Is there room for their tiles, where it was made by `room`, and are these its sites?"""
        if not 0 < len(spans) <= MOST_SPANS:
            return False
        adapters = [loaded(span) for span in spans if span.adapter]
        layouts = {id(one.layout): one for one in adapters}  # few, and dear to look at
        return all(one.tiled for one in adapters) and all(
            one.deltas.keys() <= self.changed for one in layouts.values()
        )

    def replace(self, spans: Sequence[Span]) -> None:
        """It is of these from now on."""
        given = tiles(spans)
        whole = np.zeros((len(self.tiles), 4), dtype=np.int64)
        whole[: len(given)] = given
        self.tiles.copy_(pinned(whole, self.tiles.device), non_blocking=True)


def room(
    tokens: int, *, like: Tensor, changed: Sequence[Site], order: Sequence[Site]
) -> Fused | None:
    """For adapters that change these sites of a batch of so many tokens, none yet. order: all sites."""
    add = adding(like.dtype, like.device)
    if add is None:
        return None
    empty = torch.zeros(tokens // ROWS + MOST_SPANS, 4, dtype=torch.int64, device=like.device)
    names = order_of(tuple(site.name for site in order))
    return Fused(add, empty, {site.name for site in changed}, names)


def fused(spans: Sequence[Span], like: Tensor) -> Fused | None:
    """Of these spans. None where the kernel, or one of their adapters, cannot. like: as in `adaptation`."""
    adapters = [loaded(span) for span in spans if span.adapter]
    add = adding(like.dtype, like.device)
    if add is None or not all(one.tiled for one in adapters):
        return None
    changed = set().union(*(one.deltas for one in adapters))
    return Fused(add, put(tiles(spans), like.device), changed, adapters[0].order)


def tiles(spans: Sequence[Span]) -> NDArray[np.int64]:
    """(n, 4): the addresses of an adapter's numbers and of its table, the first row, how many rows."""
    told = [(*loaded(one).addresses, one.start, one.end) for one in spans if one.adapter]
    whole = np.array(told, dtype=np.int64).reshape(-1, 4)
    counts = -(-(whole[:, 3] - whole[:, 2]) // ROWS)
    cut = whole.repeat(counts, axis=0)
    cut[:, 2] += ROWS * (np.arange(len(cut)) - (counts.cumsum() - counts).repeat(counts))
    cut[:, 3] = np.minimum(ROWS, cut[:, 3] - cut[:, 2])
    return cut


def loaded(span: Span) -> LoraAdapter:
    """Its adapter, which it has."""
    assert isinstance(span.adapter, LoraAdapter)
    return span.adapter
