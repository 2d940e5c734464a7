"""What batchers are tested with: items that tell themselves apart, and the outputs of them."""

from collections.abc import Sequence

import numpy as np

from kubeembed_runtime.requests import Item, Output


def items(*sizes: int, first: int = 0) -> list[Item]:
    """Items of so many tokens; the first id of each tells it from the others."""
    return [Item(ids=[first + n] + [0] * (size - 1)) for n, size in enumerate(sizes)]


def vectors(given: Sequence[Item]) -> list[Output]:
    """The first id of each."""
    return [Output(dense=np.array([item.ids[0]], np.float32)) for item in given]


def values(outputs: Sequence[Output]) -> list[float]:
    """What `vectors` made them of. Raises AssertionError for one without a vector."""
    found = [output.dense for output in outputs]
    assert all(dense is not None for dense in found)
    return [float(dense[0]) for dense in found if dense is not None]
