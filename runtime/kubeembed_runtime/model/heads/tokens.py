"""Which rows of the packed tokens belong to the items that ask, in the order of their places."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from kubeembed_runtime.model.packing import Packing


def rows(hidden: Tensor, packing: Packing, places: Sequence[int]) -> Tensor:
    """The tokens of these sequences, end to end. hidden: (t, h); returns (rows, h)."""
    if len(places) == len(packing.lengths):
        return hidden
    starts = offsets(packing)
    chosen = [np.arange(starts[place], starts[place + 1]) for place in places]
    return hidden[torch.from_numpy(np.concatenate(chosen)).to(hidden.device)]


def offsets(packing: Packing) -> list[int]:
    """Where each sequence begins, and where the last one ends; on the host, unlike `cumulative`."""
    return list(accumulate(packing.lengths, initial=0))
