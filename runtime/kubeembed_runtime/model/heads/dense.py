"""Hidden states of packed sequences -> one vector each: pooling, projections, Matryoshka cut, normalising.

The cut comes before normalising, so that a short vector has length 1 too.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from kubeembed_runtime.model.heads.layers import Layer, apply
from kubeembed_runtime.model.heads.tokens import offsets
from kubeembed_runtime.model.packing import Batch, Packing
from kubeembed_runtime.model.recipes import Pooling
from kubeembed_runtime.requests import Item, Vector


def cls(hidden: Tensor, packing: Packing) -> Tensor:
    """The first token of each sequence. hidden: (t, h); returns (n, h)."""
    return hidden[packing.cumulative[:-1]]


def last_token(hidden: Tensor, packing: Packing) -> Tensor:
    """The last token of each sequence, special ones included. hidden: (t, h); returns (n, h)."""
    return hidden[packing.cumulative[1:] - 1]


def mean(hidden: Tensor, packing: Packing) -> Tensor:
    """The mean over each sequence's tokens, special ones included. hidden: (t, h); returns (n, h)."""
    means = [
        hidden[run.start : run.end].view(run.count, run.length, -1).mean(1) for run in packing.runs
    ]
    return torch.cat(means)


def without_prompts(
    pooled: Tensor, hidden: Tensor, packing: Packing, items: Sequence[Item], pooling: Pooling
) -> Tensor:
    """pooled (n, h), by mean or cls, of the tokens after the prompt where an item has one.

    The last token comes after any prompt. A text that was cut within its prompt keeps its last token.
    """
    starts = offsets(packing)
    rows = list(pooled)
    for place, item in enumerate(items):
        if item.prompt_tokens:
            first = starts[place] + min(item.prompt_tokens, item.tokens - 1)
            rest = hidden[first : starts[place + 1]].float()
            rows[place] = rest[0] if pooling == "cls" else rest.mean(0)
    return torch.stack(rows)


POOLINGS: Mapping[Pooling, Callable[[Tensor, Packing], Tensor]] = {
    "cls": cls,
    "mean": mean,
    "lastToken": last_token,
}


class Dense:
    """One vector per sequence, `dimensions` wide unless an item asks for fewer.

    projections: sentence-transformers' Dense modules after the pooling, in float32.
    """

    def __init__(
        self,
        *,
        pooling: Pooling,
        normalize: bool,
        dimensions: int,
        projections: Sequence[Layer] = (),
    ) -> None:
        self.pooling, self.normalize, self.dimensions = pooling, normalize, dimensions
        self.projections = projections

    def __call__(
        self, hidden: Tensor, batch: Batch, items: Sequence[Item], places: Sequence[int]
    ) -> list[Vector]:
        """hidden: (t, h); returns (dimensions,) float32 for each place."""
        pooled = self._pooled(hidden, batch, items)
        rows: dict[int, Vector] = {}
        for (width, normalize), group in self._alike(items, places).items():
            vectors = finished(pooled[group], width, normalize).cpu().numpy()
            rows.update(zip(group, vectors, strict=True))
        return [rows[place] for place in places]

    def _pooled(self, hidden: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """hidden: (t, h); returns (n, dimensions) float32."""
        pooled = POOLINGS[self.pooling](hidden, batch.packing).float()
        if self.pooling != "lastToken" and any(item.prompt_tokens for item in items):
            pooled = without_prompts(pooled, hidden, batch.packing, items, self.pooling)
        return apply(self.projections, pooled)

    def _alike(
        self, items: Sequence[Item], places: Sequence[int]
    ) -> dict[tuple[int, bool], list[int]]:
        """The places by how their vectors end: (dimensions, normalised)."""
        groups: dict[tuple[int, bool], list[int]] = {}
        for place in places:
            item = items[place]
            normalize = self.normalize if item.normalize is None else item.normalize
            groups.setdefault((item.dimensions or self.dimensions, normalize), []).append(place)
        return groups


def finished(pooled: Tensor, dimensions: int, normalize: bool) -> Tensor:
    """pooled: (n, h); returns (n, dimensions) float32, of length 1 each if `normalize`."""
    cut = pooled[:, :dimensions].float()
    return functional.normalize(cut, dim=-1) if normalize else cut
