"""A folder of weights -> a callable that turns a batch of items into outputs, in the items' order.

A body gives the hidden states of a packed batch, and each head makes one kind of output of them: one forward
pass, however many kinds its items ask for.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model import bert
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.heads import Head, Parts, build
from kubeembed_runtime.model.packing import Batch, batch
from kubeembed_runtime.model.recipes import Recipe
from kubeembed_runtime.model.resolving import resolve
from kubeembed_runtime.requests import Item, Kind, Output

#: A packed batch -> hidden states (t, h).
Body = Callable[[Batch], Tensor]


class Encoder:
    """Called by the device thread alone."""

    def __init__(
        self,
        body: Body,
        heads: Mapping[Kind, Head],
        *,
        recipe: Recipe,
        dtype: str,
        device: torch.device,
    ) -> None:
        self.body, self.heads, self.recipe = body, heads, recipe
        self.dtype, self.device = dtype, device

    @torch.inference_mode()
    def __call__(self, items: Sequence[Item]) -> list[Output]:
        """One forward pass."""
        order = sorted(range(len(items)), key=lambda index: _rank(items[index]))
        arranged = [items[index] for index in order]
        packed = batch(arranged, self.device)
        hidden = self.body(packed)  # (t, h)
        made: list[dict[Kind, Any]] = [{} for _ in items]
        for kind, head in self.heads.items():
            places = [place for place, item in enumerate(arranged) if kind in item.outputs]
            values = head(hidden, packed, arranged, places) if places else ()
            for place, value in zip(places, values, strict=True):
                made[order[place]][kind] = value
        return [Output(**parts) for parts in made]


def _rank(item: Item) -> tuple[int, int, int]:
    """Rows of one adapter lie together, and within them equal lengths."""
    adapter = 0 if item.adapter is None else id(item.adapter)
    return adapter, item.tokens, item.attended or item.tokens


def load(folder: Path, model: EmbeddingModel, threads: int) -> Encoder:
    """Weights of `folder` as the document wants them. Raises StartFailed.

    `threads` is how many a matrix product may use on a CPU.
    """
    torch.set_num_threads(threads)
    config = read_config(folder)
    shape = bert.shape(config)
    recipe = resolve(folder, model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = _dtype(model.spec.recipe.dtype, device)
    with torch.inference_mode(), Checkpoint(folder, dtype, device) as weights:
        body = bert.Bert(weights, shape)
        parts = Parts(
            weights=weights, folder=folder, config=config, recipe=recipe, words=body.words
        )
        heads = build(parts)
    name = str(dtype).removeprefix("torch.")
    return Encoder(body, heads, recipe=recipe, dtype=name, device=device)


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
