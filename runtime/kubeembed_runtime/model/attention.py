"""One attention for every encoder, over sequences packed end to end: no padding between them.

On CUDA in half precision it is torch's variable-length kernel. Elsewhere SDPA runs once per run of equal
lengths, which is one call for a batch of like queries; the encoder sorts a batch by length to make those
runs long. A sliding window is cut into blocks of queries: its cost grows with the length, not the square.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from kubeembed_runtime.model.packing import Packing, Run

#: Queries per block of a sliding window: small ones waste calls, large ones look at what the mask hides.
BLOCK = 128

#: The widest head that the CUDA kernels take; its width is a multiple of 8.
WIDEST_HEAD = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Which tokens of its sequence a token sees: if causal none after it, and none further than `reach`."""

    causal: bool = False
    reach: int | None = None

    def hides(self, length: int) -> bool:
        """Is there a pair of tokens, in a sequence of this length, too far apart?"""
        return self.reach is not None and self.reach < length - 1


FULL = Mask()


def settle(device: torch.device) -> None:
    """Leaves attention on this device to FlashAttention for the whole process.

    On some GPUs torch prefers cuDNN, which plans 40 to 60 ms for each new shape of a batch, and nearly every
    batch has one.
    """
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packing: Packing,
    mask: Mask = FULL,
    scale: float | None = None,
) -> Tensor:
    """Attention within each sequence; returns (t, heads * d).

    query: (t, heads, d). key, value: (t, heads, d), or fewer heads that groups of query heads share.
    scale: of the scores; None is 1 / sqrt(d).
    """
    if _has_kernel(query) and (packing.seen is None or not mask.causal):
        return varlen(query, key, value, packing, mask, scale)
    return by_runs(query, key, value, packing, mask, scale)


def _has_kernel(query: Tensor) -> bool:
    width = query.shape[-1]
    half = query.dtype in (torch.float16, torch.bfloat16)
    return query.is_cuda and half and width % 8 == 0 and width <= WIDEST_HEAD


def by_runs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packing: Packing,
    mask: Mask = FULL,
    scale: float | None = None,
) -> Tensor:
    """As `attention`, one SDPA call per run of equal lengths. For any device and dtype.

    Rows after the last run, which belong to no sequence, become 0.
    """
    tokens, heads, _ = query.shape
    mixed = query.new_empty((tokens, heads, value.shape[-1]))
    for run in packing.runs:
        q, k, v = (_sequences(x, run) for x in (query, key, value))
        if run.attended < run.length:
            k, v = k[:, :, : run.attended], v[:, :, : run.attended]
        into = _sequences(mixed, run)
        if mask.hides(run.length):
            _windowed(q, k, v, mask, scale, into)
        else:
            into.copy_(_whole(q, k, v, mask.causal, scale))
    if packing.runs[-1].end < tokens:
        mixed[packing.runs[-1].end :] = 0
    return mixed.flatten(1)


def _sequences(x: Tensor, run: Run) -> Tensor:
    """(t, heads, d) -> a view (n, heads, l, d) of the run's sequences."""
    shape = (run.count, run.length, *x.shape[1:])
    return x[run.start : run.end].view(shape).transpose(1, 2)


def _whole(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float | None) -> Tensor:
    """One call over whole sequences. q: (n, heads, l, d); returns the same."""
    hidden = None
    if causal and k.shape[2] < q.shape[2]:  # SDPA's own causal mask wants as many keys as queries
        hidden, causal = _allowed(q.shape[2], k.shape[2], 0, Mask(causal=True), q.device), False
    grouped = q.shape[1] != k.shape[1]
    return scaled_dot_product_attention(
        q, k, v, attn_mask=hidden, is_causal=causal, scale=scale, enable_gqa=grouped
    )


def _windowed(
    q: Tensor, k: Tensor, v: Tensor, mask: Mask, scale: float | None, into: Tensor
) -> None:
    """One call per block of queries, over the keys that one of them sees. q, into: (n, heads, l, d)."""
    reach, length = mask.reach or 0, q.shape[2]
    grouped = q.shape[1] != k.shape[1]
    for start in range(0, length, BLOCK):
        end = min(start + BLOCK, length)
        first, last = max(0, start - reach), end if mask.causal else end + reach
        keys, values = k[:, :, first:last], v[:, :, first:last]
        seen = _allowed(end - start, keys.shape[2], start - first, mask, q.device)
        into[:, :, start:end] = scaled_dot_product_attention(
            q[:, :, start:end], keys, values, attn_mask=seen, scale=scale, enable_gqa=grouped
        )


@lru_cache(maxsize=32)
def _allowed(queries: int, keys: int, offset: int, mask: Mask, device: torch.device) -> Tensor:
    """(queries, keys) bool: may this query see this key? The first query stands `offset` keys in."""
    ahead = torch.arange(keys, device=device) - offset
    distance = (
        ahead - torch.arange(queries, device=device)[:, None]
    )  # of a key after its query: > 0
    seen = distance <= (0 if mask.causal else queries + keys)
    return seen if mask.reach is None else seen & (distance.abs() <= mask.reach)


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packing: Packing,
    mask: Mask = FULL,
    scale: float | None = None,
) -> Tensor:
    """As `attention`, in one kernel. CUDA, float16 or bfloat16; not causal where tokens are unseen."""
    from torch.nn.attention.varlen import (
        varlen_attn,
    )  # costs an import that CPU serving can do without

    ends, longest = packing.cumulative, packing.longest
    mixed = varlen_attn(
        query,
        key,
        value,
        ends,
        ends,
        longest,
        longest,
        scale=scale,
        window_size=_window(mask),
        enable_gqa=query.shape[1] != key.shape[1],
        seqused_k=packing.seen,
    )
    assert isinstance(mixed, Tensor)
    return mixed.flatten(1)


def _window(mask: Mask) -> tuple[int, int]:
    """(left, right) as the kernel counts them; -1 is no bound."""
    reach = -1 if mask.reach is None else mask.reach
    return reach, 0 if mask.causal else reach
