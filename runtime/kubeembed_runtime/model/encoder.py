"""A folder of weights -> a callable that turns a batch of items into outputs, in the items' order.

Inside, a batch is sorted by length: packed sequences need no padding, but equal lengths side by side share
one attention call.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model import bert
from kubeembed_runtime.model.attention import Packing, pack
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.heads import POOLINGS, dense
from kubeembed_runtime.model.recipes import Limits, Recipe, resolve
from kubeembed_runtime.requests import Item, Output, Vector

#: Packed ids and positions of one batch -> hidden states.
Body = Callable[[Tensor, Tensor, Packing], Tensor]


class Encoder:
    """Called by the device thread alone."""

    def __init__(self, body: Body, recipe: Recipe, *, dtype: str, device: torch.device) -> None:
        self.body, self.recipe, self.dtype, self.device = body, recipe, dtype, device

    @torch.inference_mode()
    def __call__(self, items: Sequence[Item]) -> list[Output]:
        """One forward pass. Each output's vector is its own (dimensions,) float32."""
        order = sorted(range(len(items)), key=lambda index: items[index].tokens)
        pooled = self._pooled([items[index].ids for index in order])
        rows: list[Vector | None] = [None] * len(items)
        for dimensions, places in _by_dimensions(items, order, self.recipe.dimensions.value):
            vectors = self._vectors(pooled[places], dimensions)
            for place, vector in zip(places, vectors, strict=True):
                rows[order[place]] = vector
        return [Output(dense=row) for row in rows if row is not None]

    def _pooled(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """(n, h) of sequences in this order."""
        lengths = [len(ids) for ids in sequences]
        ids = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in sequences])
        positions = np.concatenate([np.arange(length) for length in lengths])
        packing = pack(lengths, self.device)
        hidden = self.body(self._put(ids), self._put(positions), packing)  # (t, h)
        return POOLINGS[self.recipe.pooling.value](hidden, packing)

    def _put(self, values: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def _vectors(self, pooled: Tensor, dimensions: int) -> Vector:
        vectors: Vector = dense(pooled, dimensions, self.recipe.normalize.value).cpu().numpy()
        return vectors


def _by_dimensions(
    items: Sequence[Item], order: Sequence[int], default: int
) -> list[tuple[int, list[int]]]:
    """The places in the sorted batch of the items that want each number of dimensions."""
    places: dict[int, list[int]] = {}
    for place, index in enumerate(order):
        places.setdefault(items[index].dimensions or default, []).append(place)
    return list(places.items())


def load(folder: Path, model: EmbeddingModel, threads: int) -> Encoder:
    """Weights of `folder` as the document wants them. Raises StartFailed.

    `threads` is how many a matrix product may use on a CPU.
    """
    torch.set_num_threads(threads)
    config = read_config(folder)
    shape = bert.shape(config)
    limits = Limits(width=shape.hidden, positions=shape.positions)
    recipe = resolve(folder, model.spec.recipe, limits)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = _dtype(model.spec.recipe.dtype, device)
    with torch.inference_mode(), Checkpoint(folder, dtype, device) as weights:
        body = bert.Bert(weights, shape)
    return Encoder(body, recipe, dtype=str(dtype).removeprefix("torch."), device=device)


def read_config(folder: Path) -> Mapping[str, Any]:
    """config.json of a model that is supported. Raises StartFailed."""
    try:
        config: Mapping[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        problem = f"{folder / 'config.json'} cannot be read: {error}"
        raise StartFailed(Reason.NO_USABLE_FILES, problem) from error
    if config.get("model_type") not in bert.FAMILY:
        supported = ", ".join(sorted(bert.FAMILY))
        problem = f"config.json has model_type {config.get('model_type')!r}; supported: {supported}"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    return config


def _dtype(wanted: str, device: torch.device) -> torch.dtype:
    """`auto` is float32 on a CPU, where bfloat16 may be slower, and bfloat16 on a GPU."""
    if wanted == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    found: torch.dtype = getattr(torch, wanted)
    return found
