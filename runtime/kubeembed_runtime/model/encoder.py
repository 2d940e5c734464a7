"""A folder of weights -> a callable that turns a batch of items into outputs, in the items' order.

A body gives the hidden states of a packed batch, and each head makes one kind of output of them: one forward
pass, however many kinds its items ask for.
"""

import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kubeembed_api.document import EmbeddingModel
from kubeembed_runtime.errors import OutOfMemory
from kubeembed_runtime.model import devices, limits
from kubeembed_runtime.model.attention import settle
from kubeembed_runtime.model.bert import Bert
from kubeembed_runtime.model.bodies import Body, Plan
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.fused import Fused, room
from kubeembed_runtime.model.graphs import Replayed, recorder, replayed
from kubeembed_runtime.model.heads import Head, Lookup, Parts, build
from kubeembed_runtime.model.packing import batch
from kubeembed_runtime.model.padded import Padded
from kubeembed_runtime.model.recipes import Recipe
from kubeembed_runtime.model.resolving import resolve
from kubeembed_runtime.model.turns import Turn
from kubeembed_runtime.requests import Item, Kind, Output


class Encoder:
    """Called by device threads: by several at once only as `streams` says."""

    def __init__(
        self,
        body: Body,
        heads: Mapping[Kind, Head],
        *,
        recipe: Recipe,
        dtype: str,
        device: torch.device,
        labels: tuple[str, ...] = (),
    ) -> None:
        """labels: the names of a classifier's, in their order."""
        self.body, self.heads, self.recipe, self.labels = body, heads, recipe, labels
        self.dtype, self.device = dtype, device
        self._replayed: Replayed | None = None
        self._turn = Turn() if device.type == "cuda" else nullcontext()

    @torch.inference_mode()
    def __call__(self, items: Sequence[Item]) -> list[Output]:
        """One forward pass. Raises OutOfMemory."""
        try:
            return self._outputs(items)
        except (RuntimeError, MemoryError) as error:  # what is raised on a GPU is one of the first
            if not _out_of_memory(error):
                raise
            # Frames of the pass still hold its tensors, and a retry wants their memory.
            traceback.clear_frames(error.__traceback__)
            tokens = sum(item.tokens for item in items)
            raise OutOfMemory(f"no memory for a batch of {tokens} tokens") from error

    def _outputs(self, items: Sequence[Item]) -> list[Output]:
        order = sorted(range(len(items)), key=lambda index: _rank(items[index]))
        arranged = [items[index] for index in order]
        packed = batch(arranged, self.device, self.body.padding)
        with self._turn:
            hidden = (self._replayed or self.body)(packed)  # (t, h)
        made: list[dict[Kind, Any]] = [{} for _ in items]
        for kind, head in self.heads.items():
            places = [place for place, item in enumerate(arranged) if kind in item.outputs]
            values = head(hidden, packed, arranged, places) if places else ()
            for place, value in zip(places, values, strict=True):
                made[order[place]][kind] = value
        return [Output(**parts) for parts in made]

    def warm_up(self, budget: int) -> None:
        """Runs a batch of each size, up to `budget` tokens, so that no request is the first of its size.

        A GPU's stream takes its own memory: once on each, before any other thread.
        """
        vocabulary = self.body.words.shape[0]
        if self._replayed is None and self._replays:
            self._replayed = replayed(
                self.body,
                vocabulary=vocabulary,
                limit=self.recipe.max_tokens.value,
                device=self.device,
                record=recorder(),
                room=self._room,
            )
        outputs = self.recipe.outputs.value[:1]
        for count, length in devices.buckets(budget, self.recipe.max_tokens.value, self.device):
            made = devices.sample(vocabulary, [length] * count)
            self([replace(item, outputs=outputs) for item in made])

    @property
    def _replays(self) -> bool:
        gpu = self.device.type == "cuda" and self.dtype != "float32"
        return gpu and not isinstance(self.body, Padded)

    def _room(self, tokens: int) -> Fused | None:
        """Bodies of transformers make their adaptations themselves."""
        body = self.body
        if not isinstance(body, Bert):
            return None
        return room(tokens, like=body.words, changed=body.usual_sites, order=body.sites)


def _rank(item: Item) -> tuple[int, int, int]:
    """Rows of one adapter lie together, and within them equal lengths."""
    adapter = 0 if item.adapter is None else id(item.adapter)
    return adapter, item.tokens, item.attended or item.tokens


def _out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """torch's allocator of a CPU has no class of its own for it."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "can't allocate memory" in str(error)


def load(
    folder: Path,
    model: EmbeddingModel,
    threads: int,
    *,
    recipe: Recipe | None = None,
    lookup: Lookup | None = None,
) -> Encoder:
    """Weights of `folder` as the document wants them. Raises StartFailed.

    `threads` is how many a matrix product may use on a CPU. recipe: None resolves it. lookup: as in Parts.
    """
    torch.set_num_threads(threads)
    config = limits.read_config(folder)
    recipe = recipe or resolve(folder, model)
    device = devices.find()
    settle(device)
    plan = Plan(folder=folder, config=config, recipe=recipe, model=model, device=device)
    body, dtype = plan.build()
    with torch.inference_mode(), Checkpoint(folder, dtype, device) as weights:
        parts = Parts(
            weights=weights,
            folder=folder,
            config=config,
            recipe=recipe,
            lookup=lookup,
            words=body.words,
        )
        heads = build(parts)
    return Encoder(
        body,
        heads,
        recipe=recipe,
        dtype=devices.name(dtype),
        device=device,
        labels=limits.labels(config) if "score" in heads else (),
    )
