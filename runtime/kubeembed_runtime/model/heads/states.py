"""Hidden states of packed sequences -> those of each sequence, as they are: no pooling, no projection."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kubeembed_runtime.model.heads.tokens import rows
from kubeembed_runtime.model.packing import Batch
from kubeembed_runtime.requests import Item, Vector


def token_states(
    hidden: Tensor, batch: Batch, items: Sequence[Item], places: Sequence[int]
) -> list[Vector]:
    """hidden: (t, h); returns (tokens, h) float32 for each place, special tokens included."""
    lengths = [batch.packing.lengths[place] for place in places]
    wanted = rows(hidden, batch.packing, places).float().cpu()
    return [states.numpy().copy() for states in torch.split(wanted, lengths)]
