"""A loaded LoRA adapter: its pairs, laid out for the matrix products of the body that it changes.

A body names those products: a site is one product, of one linear layer or of several fused ones. All tensors
of an adapter are views of one, so that the adapters of a batch can be stacked at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from torch import Tensor

#: The GPU's kernel multiplies tiles of so many numbers.
TILE = 8

#: Layers that one site fuses at most, and ranks that all of one have there, as far as the kernel goes.
MOST_PARTS = 3
MOST_RANKS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A linear layer by its path in transformers' model, and the columns of the result that it makes."""

    path: str
    start: int
    end: int

    @property
    def outputs(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One matrix product of a body: a linear layer, or several fused ones that read the same input."""

    name: str
    inputs: int
    parts: tuple[Part, ...]


def site(name: str, weight: Tensor) -> Site:
    """That of a linear layer on its own. weight: (out, in)."""
    outputs, inputs = weight.shape
    return Site(name=name, inputs=inputs, parts=(Part(path=name, start=0, end=outputs),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What an adapter has for one linear layer. down: (in, r); up: (r, out), scaled."""

    down: Tensor
    up: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """One part of a delta: which of its low dimensions, to which columns. up: (r, out)."""

    ranks: slice
    columns: slice
    up: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What an adapter adds at one site. down: (in, r of all parts)."""

    down: Tensor
    ups: tuple[Up, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpPlace:
    """Where an Up begins in an adapter's flat tensor."""

    start: int
    ranks: slice
    columns: slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a delta lies in an adapter's flat tensor."""

    site: str
    inputs: int
    rank: int
    start: int
    ups: tuple[UpPlace, ...]

    def delta(self, flat: Tensor) -> Delta:
        """Views of an adapter's flat tensor, or of several ones stacked: flat is (..., n)."""

        def view(start: int, rows: int, columns: int) -> Tensor:
            part = flat[..., start : start + rows * columns]
            return part.view(*part.shape[:-1], rows, columns)

        ups = []
        for up in self.ups:
            rows = up.ranks.stop - up.ranks.start
            columns = up.columns.stop - up.columns.start
            ups.append(Up(ranks=up.ranks, columns=up.columns, up=view(up.start, rows, columns)))
        return Delta(down=view(self.start, self.inputs, self.rank), ups=tuple(ups))


#: Adapters of one layout can be stacked: they change the same sites with the same ranks.
Layout = tuple[Place, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class LoraAdapter:
    """A loaded adapter, on the device, never changed. A batch that holds it is served by it to the end.

    base: the model that it was trained on, as its files say; fingerprint: that of its vectors. table: where
    its numbers lie, (sites of the body, numbers of each) int32; order: a site's row there, by its name.
    """

    name: str
    fingerprint: str
    base: str | None
    layout: Layout
    flat: Tensor = field(repr=False)
    table: Tensor = field(repr=False)
    order: Mapping[str, int] = field(repr=False)

    @cached_property
    def deltas(self) -> Mapping[str, Delta]:
        """By site."""
        return {place.site: place.delta(self.flat) for place in self.layout}

    @cached_property
    def tiled(self) -> bool:
        """Is every matrix made of whole tiles, and small enough for the GPU's kernel?"""
        numbers = [
            number
            for place in self.layout
            for up in place.ups
            for number in (place.inputs, place.rank, up.ranks.start, up.columns.start)
        ]
        ends = [up.columns.stop for place in self.layout for up in place.ups]
        small = all(
            place.rank <= MOST_RANKS and len(place.ups) <= MOST_PARTS for place in self.layout
        )
        return small and all(number % TILE == 0 for number in (*numbers, *ends))

    @cached_property
    def addresses(self) -> tuple[int, int]:
        """Of its numbers and of its table."""
        return self.flat.data_ptr(), self.table.data_ptr()

    @property
    def bytes(self) -> int:
        return self.flat.numel() * self.flat.element_size()


def lora_adapter(
    pairs: Mapping[str, Pair],
    sites: Sequence[Site],
    *,
    name: str,
    fingerprint: str,
    base: str | None,
    dtype: torch.dtype,
    device: torch.device,
    alignment: int = 1,
) -> LoraAdapter:
    """The adapter that has these pairs, by the path of their linear layer. alignment: of its ranks."""
    ranks = [
        (path, -(-pair.down.shape[1] // alignment) * alignment) for path, pair in pairs.items()
    ]
    layout, size = _layout(tuple(sites), tuple(sorted(ranks)))
    order = order_of(tuple(one.name for one in sites))
    flat = torch.zeros(size, dtype=dtype)
    by_name = {one.name: one for one in sites}
    for place in layout:
        _fill(place.delta(flat), by_name[place.site], pairs)
    return LoraAdapter(
        name=name,
        fingerprint=fingerprint,
        base=base,
        layout=layout,
        flat=flat.to(device),
        table=_table(layout, order).to(device),
        order=order,
    )


#: So many layouts are remembered: equal ones are one object then, and compared in no time.
@lru_cache(maxsize=128)
def _layout(sites: tuple[Site, ...], ranks: tuple[tuple[str, int], ...]) -> tuple[Layout, int]:
    """Where the pairs of these ranks, by path, will lie, and how many numbers all of them are."""
    by_path = dict(ranks)
    places, size = [], 0
    for one in sites:
        parts = [part for part in one.parts if part.path in by_path]
        if not parts:
            continue
        start, low, ups = size, 0, []
        size += one.inputs * sum(by_path[part.path] for part in parts)
        for part in parts:
            rank = by_path[part.path]
            columns = slice(part.start, part.end)
            ups.append(UpPlace(start=size, ranks=slice(low, low + rank), columns=columns))
            low += rank
            size += rank * part.outputs
        place = Place(site=one.name, inputs=one.inputs, rank=low, start=start, ups=tuple(ups))
        places.append(place)
    return tuple(places), size


@lru_cache(maxsize=1)
def order_of(sites: tuple[str, ...]) -> Mapping[str, int]:
    """The same object for all adapters of a model."""
    return {name: index for index, name in enumerate(sites)}


def _table(layout: Layout, order: Mapping[str, int]) -> Tensor:
    """As add_adapters.cu reads it; a row of zeros where nothing is added."""
    table = torch.zeros(len(order), 4 + 5 * MOST_PARTS, dtype=torch.int32)
    for place in layout:
        numbers = [place.inputs, place.rank, place.start, len(place.ups)]
        for up in place.ups[:MOST_PARTS]:
            ranks, columns = up.ranks, up.columns
            numbers += [up.start, ranks.start, ranks.stop - ranks.start]
            numbers += [columns.start, columns.stop - columns.start]
        table[order[place.site], : len(numbers)] = torch.tensor(numbers)
    return table


def _fill(delta: Delta, one: Site, pairs: Mapping[str, Pair]) -> None:
    """Copies the pairs to their places. Ranks that were added for alignment stay 0."""
    by_start = {part.start: part for part in one.parts}
    for up in delta.ups:
        pair = pairs[by_start[up.columns.start].path]
        rank = pair.down.shape[1]
        delta.down[:, up.ranks][:, :rank].copy_(pair.down)
        up.up[:rank].copy_(pair.up)
