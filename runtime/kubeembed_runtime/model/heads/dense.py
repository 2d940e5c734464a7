"""Hidden states of packed sequences -> one vector each: pooling, projections, Matryoshka cut, normalising.

The cut comes before normalising, so that a short vector has length 1 too.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from kubeembed_api.spec import Pooling
from kubeembed_runtime.model.heads.layers import Layer, apply
from kubeembed_runtime.model.heads.pooling import pool
from kubeembed_runtime.model.packing import Batch
from kubeembed_runtime.requests import Item, Vector


class Dense:
    """One vector per sequence, `dimensions` wide unless an item asks for fewer.

    pooling: several modes' vectors lie side by side. projections: sentence-transformers' Dense modules after
    the pooling, in float32.
    """

    def __init__(
        self,
        *,
        pooling: Sequence[Pooling],
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
        return apply(self.projections, pool(hidden, batch.packing, items, self.pooling))

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
