"""Items -> one packed batch: sequences end to end, no padding, no mask, and where each of them lies.

Items come in the order in which they lie; the encoder sorts them by adapter and length, so that rows of one
adapter are one slice and equal lengths share one attention call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kubeembed_runtime.adapters import Adapter
from kubeembed_runtime.requests import Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`count` neighbouring sequences of `length` tokens each, the first at token `start`.

    attended: how many of each one's tokens the others see.
    """

    start: int
    count: int
    length: int
    attended: int

    @property
    def end(self) -> int:
        return self.start + self.count * self.length


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Tokens from `start` to before `end` that one adapter, or none, changes."""

    adapter: Adapter | None
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """Where each sequence lies in the packed tokens. cumulative: (n + 1,) int32, on the device.

    seen: (n,) int32, how many tokens of each sequence the others see; None where they see all.
    """

    lengths: tuple[int, ...]
    runs: tuple[Run, ...]
    cumulative: Tensor
    seen: Tensor | None

    @property
    def longest(self) -> int:
        return max(self.lengths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a body reads. ids, positions (from 0 in each sequence), kinds (token types): (t,) int64.

    The position of a token that counts none is -1. kinds is None where all are 0; spans is empty where no
    item has an adapter.
    """

    ids: Tensor
    positions: Tensor
    kinds: Tensor | None
    packing: Packing
    spans: tuple[Span, ...]


def batch(items: Sequence[Item], device: torch.device, padding: int | None = None) -> Batch:
    """The items in this order. padding: the id that counts no position, where the body has one."""
    lengths = [item.tokens for item in items]
    kinds = _kinds(items) if any(item.second is not None for item in items) else None
    ids, positions = put(_read(items, lengths, padding), device)
    return Batch(
        ids=ids,
        positions=positions,
        kinds=None if kinds is None else put(kinds, device),
        packing=pack(lengths, device, [item.attended for item in items]),
        spans=_spans(items) if any(item.adapter is not None for item in items) else (),
    )


def pack(
    lengths: Sequence[int], device: torch.device, attended: Sequence[int | None] | None = None
) -> Packing:
    """The packing of sequences of these lengths, in this order."""
    parts = attended or [None] * len(lengths)
    runs, start = [], 0
    for (length, part), group in groupby(zip(lengths, parts, strict=True)):
        count = len(list(group))
        run = Run(start=start, count=count, length=length, attended=part or length)
        runs.append(run)
        start = run.end
    seen = [part or length for part, length in zip(parts, lengths, strict=True)]
    whole = all(run.attended == run.length for run in runs)
    return Packing(
        lengths=tuple(lengths),
        runs=tuple(runs),
        cumulative=put(np.cumsum([0, *lengths], dtype=np.int32), device),
        seen=None if whole else put(np.asarray(seen, dtype=np.int32), device),
    )


def _read(items: Sequence[Item], lengths: Sequence[int], padding: int | None) -> NDArray[np.int64]:
    """(2, t): ids and positions, in one array because each copy to a GPU has its price."""
    read = np.empty((2, sum(lengths)), dtype=np.int64)
    read[0] = np.fromiter(chain.from_iterable(item.ids for item in items), np.int64, read.shape[1])
    sizes = np.asarray(lengths, dtype=np.int64)
    starts: NDArray[np.int64] = np.cumsum(sizes) - sizes
    read[1] = np.arange(read.shape[1]) - np.repeat(starts, sizes)
    if padding is not None and not (counted := read[0] != padding).all():
        read[1] = _positions(counted, starts, sizes)
    return read


def _positions(
    counted: NDArray[np.bool_], starts: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(t,): from 0 in each sequence, over the tokens that count; -1 for the others."""
    upto: NDArray[np.int64] = np.cumsum(counted)  # itself included
    before = upto[starts] - counted[starts]
    return np.where(counted, upto - 1 - np.repeat(before, sizes), -1)


def _kinds(items: Sequence[Item]) -> NDArray[np.int64]:
    kinds = []
    for item in items:
        row = np.zeros(item.tokens, dtype=np.int64)
        if item.second is not None:
            row[item.second :] = 1
        kinds.append(row)
    return np.concatenate(kinds)


def _spans(items: Sequence[Item]) -> tuple[Span, ...]:
    spans, start = [], 0
    for _, group in groupby(items, key=lambda item: id(item.adapter)):
        members = list(group)
        end = start + sum(item.tokens for item in members)
        spans.append(Span(adapter=members[0].adapter, start=start, end=end))
        start = end
    return tuple(spans)


def put(values: NDArray[Any], device: torch.device) -> Tensor:
    """To the device, without waiting for it."""
    return pinned(values, device).to(device, non_blocking=True)


def pinned(values: NDArray[Any], device: torch.device) -> Tensor:
    """On the host, so that a copy to that device runs beside its kernels and the host goes on."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory() if device.type == "cuda" else tensor
