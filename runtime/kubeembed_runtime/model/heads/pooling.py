"""Hidden states of packed sequences -> one vector each, as sentence-transformers' Pooling makes it.

Its modes, and what each divides by, are of sentence_transformers/sentence_transformer/modules/pooling.py.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from kubeembed_api.spec import Pooling
from kubeembed_runtime.model.heads.tokens import offsets
from kubeembed_runtime.model.packing import Packing
from kubeembed_runtime.requests import Item

#: Sequences of one length (n, l, h), and how many of the first tokens are left out -> (n, h).
_Pool = Callable[[Tensor, int], Tensor]


def pool(
    hidden: Tensor, packing: Packing, items: Sequence[Item], modes: Sequence[Pooling]
) -> Tensor:
    """hidden: (t, h); returns (n, len(modes) * h) float32, the modes' vectors side by side.

    The tokens of an item's prompt are left out. A text that was cut within its prompt keeps its last token.
    """
    pooled = _beside([_packed(mode, hidden, packing) for mode in modes])
    # The last token comes after any prompt.
    if any(mode != "lastToken" for mode in modes) and any(item.prompt_tokens for item in items):
        return _without_prompts(pooled, hidden, packing, items, modes)
    return pooled


def mean(hidden: Tensor, packing: Packing) -> Tensor:
    """The mean over each sequence's tokens, special ones included. hidden: (t, h); returns (n, h)."""
    return _by_runs(_MODES["mean"], hidden, packing)


def _packed(mode: Pooling, hidden: Tensor, packing: Packing) -> Tensor:
    # One gather for all sequences, where there would be one slice for each length.
    if mode == "cls":
        return hidden[packing.cumulative[:-1]]
    if mode == "lastToken":
        return hidden[packing.cumulative[1:] - 1]
    return _by_runs(_MODES[mode], hidden, packing)


def _by_runs(mode: _Pool, hidden: Tensor, packing: Packing) -> Tensor:
    blocks = (hidden[run.start : run.end].view(run.count, run.length, -1) for run in packing.runs)
    return torch.cat([mode(block, 0) for block in blocks])


def _without_prompts(
    pooled: Tensor,
    hidden: Tensor,
    packing: Packing,
    items: Sequence[Item],
    modes: Sequence[Pooling],
) -> Tensor:
    """pooled (n, len(modes) * h), but for the rows of items that have a prompt."""
    starts = offsets(packing)
    rows = list(pooled)
    for place, item in enumerate(items):
        if item.prompt_tokens:
            block = hidden[None, starts[place] : starts[place + 1]].float()
            first = min(item.prompt_tokens, item.tokens - 1)
            rows[place] = _beside([_MODES[mode](block, first) for mode in modes])[0]
    return torch.stack(rows)


def _beside(parts: Sequence[Tensor]) -> Tensor:
    """In float32."""
    return parts[0].float() if len(parts) == 1 else torch.cat([part.float() for part in parts], 1)


def _mean_sqrt_length(block: Tensor, first: int) -> Tensor:
    kept = block[:, first:]
    return kept.sum(1, dtype=torch.float32) / math.sqrt(kept.shape[1])


def _weighted_mean(block: Tensor, first: int) -> Tensor:
    """A token weighs as much as its place, counted from 1; leaving tokens out does not move the others."""
    weights = torch.arange(first + 1, block.shape[1] + 1, device=block.device, dtype=torch.float32)
    return (block[:, first:] * weights[:, None]).sum(1) / weights.sum()


_MODES: Mapping[Pooling, _Pool] = {
    "cls": lambda block, first: block[:, first],
    "max": lambda block, first: block[:, first:].amax(1),
    "mean": lambda block, first: block[:, first:].mean(1),
    "meanSqrtLength": _mean_sqrt_length,
    "weightedMean": _weighted_mean,
    "lastToken": lambda block, first: block[:, -1],
}
