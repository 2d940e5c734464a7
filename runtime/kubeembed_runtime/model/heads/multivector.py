"""Hidden states -> a vector per token, for late interaction (ColBERT, BGE-M3).

Every token of a query counts, the masks that it was filled up with as well. A document leaves out its skipped
tokens, and so does a text that names no side.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from kubeembed_runtime.model.heads.layers import Layer, apply
from kubeembed_runtime.model.heads.tokens import offsets
from kubeembed_runtime.model.packing import Batch
from kubeembed_runtime.requests import Item, Vector


class Multivector:
    """skip: ids of document tokens without a vector. skip_first: nor has the first of any text (BGE-M3)."""

    def __init__(
        self,
        *,
        projections: Sequence[Layer],
        normalize: bool,
        skip: Sequence[int] = (),
        skip_first: bool = False,
    ) -> None:
        self.projections, self.normalize, self.skip_first = projections, normalize, skip_first
        self.skip = np.asarray(skip, dtype=np.int64)

    def __call__(
        self, hidden: Tensor, batch: Batch, items: Sequence[Item], places: Sequence[int]
    ) -> list[Vector]:
        """hidden: (t, h); returns (tokens, dimensions) float32 for each place."""
        starts = offsets(batch.packing)
        kept = [starts[place] + self._kept(items[place]) for place in places]
        chosen = torch.from_numpy(np.concatenate(kept)).to(hidden.device)
        vectors = apply(self.projections, hidden[chosen]).float()  # (rows, d)
        if self.normalize:
            vectors = functional.normalize(vectors, dim=-1)
        cuts = list(accumulate(len(part) for part in kept))[:-1]
        return np.split(vectors.cpu().numpy(), cuts)

    def _kept(self, item: Item) -> NDArray[np.int64]:
        """The places of the tokens that get a vector, within the item."""
        ids = np.asarray(item.ids)
        wanted = np.ones(len(ids), dtype=bool)
        if item.side != "query" and self.skip.size:
            wanted &= ~np.isin(ids, self.skip)
        if self.skip_first:
            wanted[0] = False
        return wanted.nonzero()[0]
