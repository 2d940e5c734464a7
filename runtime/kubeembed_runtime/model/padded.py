"""Batches for models whose attention adds a bias between positions: padded, by neighbours of like length.

Such a model computes its bias for a whole rectangle, so packing cannot serve it. Items come sorted by
length, so little of a rectangle is padding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kubeembed_runtime.model.packing import Batch, Span

#: A group of sequences is cut where its rectangle would be larger than its tokens by more than this.
ROOM = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Neighbouring sequences of one batch that share a rectangle. start: their first token."""

    start: int
    lengths: tuple[int, ...]
    attended: tuple[int, ...]
    span: Span | None

    @property
    def end(self) -> int:
        return self.start + sum(self.lengths)


def groups(batch: Batch) -> Iterator[Group]:
    """Every sequence, in order. A group has one adapter at most."""
    attended = [run.attended for run in batch.packing.runs for _ in range(run.count)]
    start, taken, token = 0, 0, 0
    lengths = batch.packing.lengths
    for index, length in enumerate(lengths):
        longest = max(lengths[taken : index + 1])
        rectangle = longest * (index + 1 - taken)
        wasteful = rectangle > ROOM * (token + length - start)
        if index > taken and (wasteful or any(span.start == token for span in batch.spans)):
            yield _group(batch, attended, taken, index, start)
            start, taken = token, index
        token += length
    yield _group(batch, attended, taken, len(lengths), start)


def _group(batch: Batch, attended: list[int], first: int, last: int, start: int) -> Group:
    span = next((span for span in batch.spans if span.start <= start < span.end), None)
    lengths = batch.packing.lengths[first:last]
    return Group(start=start, lengths=lengths, attended=tuple(attended[first:last]), span=span)


class Padded:
    """A body over a model of transformers. `spans` are those of the rows that the model sees now."""

    def __init__(self, model: Any, *, pad: int, kinds: bool) -> None:
        """pad: the id that fills up; kinds: does the model read token types?"""
        self.model, self._pad, self._kinds = model, pad, kinds
        self.spans: tuple[Span, ...] = ()

    @property
    def words(self) -> Tensor:
        """The word embeddings: (vocabulary, h)."""
        return words(self.model)

    @property
    def padding(self) -> None:
        """The model itself counts its positions."""

    def __call__(self, batch: Batch) -> Tensor:
        """Returns (t, h)."""
        return torch.cat([self._run(group, batch) for group in groups(batch)])

    def _run(self, group: Group, batch: Batch) -> Tensor:
        """The group's tokens alone: (t of the group, h)."""
        device = batch.ids.device
        places = torch.arange(max(group.lengths), device=device)
        inside = places < torch.tensor(group.lengths, device=device)[:, None]  # (n, l)
        seen = places < torch.tensor(group.attended, device=device)[:, None]
        given = {
            "input_ids": _spread(batch.ids[group.start : group.end], inside, self._pad),
            "attention_mask": seen.long(),
        }
        if self._kinds and batch.kinds is not None:
            kinds = batch.kinds[group.start : group.end]
            given["token_type_ids"] = _spread(kinds, inside, 0)
        self.spans = _moved(group.span, inside.numel())
        hidden: Tensor = self.model(**given)[0]  # (n, l, h)
        return hidden[inside]


def words(model: Any) -> Tensor:
    """The word embeddings of a model of transformers: (vocabulary, h)."""
    weight: Tensor = model.get_input_embeddings().weight
    return weight


def _spread(values: Tensor, inside: Tensor, fill: int) -> Tensor:
    """(t,) -> (n, l), with `fill` where nothing is."""
    spread = torch.full(inside.shape, fill, dtype=values.dtype, device=values.device)
    spread[inside] = values
    return spread


def _moved(span: Span | None, rows: int) -> tuple[Span, ...]:
    """The adapter's span over all rows of the rectangle, padding included."""
    return () if span is None else (Span(adapter=span.adapter, start=0, end=rows),)
