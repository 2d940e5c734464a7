"""Hidden states of packed sequences -> those of each sequence, as they are: no pooling, no projection."""

from collections.abc import Sequence

from torch import Tensor

from kubeembed_runtime.model.heads.tokens import offsets
from kubeembed_runtime.model.packing import Batch
from kubeembed_runtime.requests import Item, Vector


def states(
    hidden: Tensor, batch: Batch, items: Sequence[Item], places: Sequence[int]
) -> list[Vector]:
    """hidden: (t, h); returns (tokens, h) float32 for each place, special tokens included."""
    starts = offsets(batch.packing)
    rows = hidden.float().cpu().numpy()
    return [rows[starts[place] : starts[place + 1]].copy() for place in places]
