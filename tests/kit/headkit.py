"""What heads are to compute, by the formulas of those who defined them, on torch's plain operations."""

from collections.abc import Collection, Sequence

from torch import Tensor
from torch.nn.functional import normalize


def splade(logits: Tensor) -> Tensor:
    """SPLADE's weights with its largest over the tokens. logits: (tokens, vocabulary); (vocabulary,)."""
    return logits.max(0).values.relu().log1p()


def colbert(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """ColBERT's vector of each token: projected, of length one. hidden: (tokens, h); (tokens, d)."""
    projected = hidden @ weight.T
    return normalize(projected if bias is None else projected + bias, dim=-1)


def lexical(
    ids: Sequence[int], weights: Sequence[float], unused: Collection[int]
) -> dict[int, float]:
    """FlagEmbedding's _process_token_weights, as BGE-M3's authors define lexical weights: by token id."""
    result: dict[int, float] = {}
    for weight, token in zip(weights, ids, strict=True):
        if token not in unused and weight > 0 and weight > result.get(token, 0):
            result[token] = weight
    return result
