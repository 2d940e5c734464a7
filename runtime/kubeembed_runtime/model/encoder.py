"""A folder of weights -> a callable that turns a batch of items into outputs, in the items' order.

A body gives the hidden states of a packed batch, and each head makes one kind of output of them: one forward
pass, however many kinds its items ask for.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from kubeembed_api.document import EmbeddingModel
from kubeembed_runtime.errors import OutOfMemory
from kubeembed_runtime.model import bert, generic, limits
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.heads import Head, Parts, build
from kubeembed_runtime.model.packing import Batch, batch
from kubeembed_runtime.model.recipes import Recipe
from kubeembed_runtime.model.resolving import resolve
from kubeembed_runtime.requests import Item, Kind, Output


class Body(Protocol):
    """A packed batch -> hidden states (t, h). words: its word embeddings, (vocabulary, h)."""

    @property
    def words(self) -> Tensor: ...

    def __call__(self, batch: Batch) -> Tensor: ...


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
        """One forward pass. Raises OutOfMemory."""
        try:
            return self._outputs(items)
        except RuntimeError as error:  # what is raised on a GPU is one as well
            if not _out_of_memory(error):
                raise
            tokens = sum(item.tokens for item in items)
            raise OutOfMemory(f"no memory for a batch of {tokens} tokens") from error

    def _outputs(self, items: Sequence[Item]) -> list[Output]:
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


def _out_of_memory(error: RuntimeError) -> bool:
    """The allocator of a CPU has no class of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def load(folder: Path, model: EmbeddingModel, threads: int) -> Encoder:
    """Weights of `folder` as the document wants them. Raises StartFailed.

    `threads` is how many a matrix product may use on a CPU.
    """
    torch.set_num_threads(threads)
    config = limits.read_config(folder)
    recipe = resolve(folder, model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = _dtype(model.spec.recipe.dtype, device)
    with torch.inference_mode(), Checkpoint(folder, dtype, device) as weights:
        body = _body(weights, folder, config, recipe, model.spec.model.trust_remote_code)
        parts = Parts(
            weights=weights, folder=folder, config=config, recipe=recipe, words=body.words
        )
        heads = build(parts)
    name = str(dtype).removeprefix("torch.")
    return Encoder(body, heads, recipe=recipe, dtype=name, device=device)


def _body(
    weights: Checkpoint,
    folder: Path,
    config: Mapping[str, Any],
    recipe: Recipe,
    trust_remote_code: bool,
) -> Body:
    """The family that is computed here, else whatever transformers loads."""
    if bert.computes(config):
        return bert.Bert(weights, bert.shape(config))
    told = recipe.causal.value
    return generic.load(
        folder,
        dtype=weights.dtype,
        device=weights.device,
        causal=None if told is limits.causal(config) else told,
        max_tokens=recipe.max_tokens.value,
        trust_remote_code=trust_remote_code,
    )


def _dtype(wanted: str, device: torch.device) -> torch.dtype:
    """`auto` is float32 on a CPU, where bfloat16 may be slower, and bfloat16 on a GPU."""
    if wanted == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    found: torch.dtype = getattr(torch, wanted)
    return found
