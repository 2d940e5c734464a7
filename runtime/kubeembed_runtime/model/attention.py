"""One attention for every encoder, over sequences packed end to end: no padding, no mask.

On CUDA in half precision it is torch's variable-length kernel. Elsewhere SDPA runs once per run of equal
lengths, which is one call for a batch of like queries; the encoder sorts a batch by length to make those
runs long.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from kubeembed_runtime.model.packing import Packing


def attention(query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> Tensor:
    """Full attention within each sequence. query, key, value: (t, heads, d); returns (t, heads * d)."""
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and packing.whole:
        return varlen(query, key, value, packing)
    return by_runs(query, key, value, packing)


def by_runs(query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> Tensor:
    """As `attention`, one SDPA call per run of equal lengths. For any device and dtype."""
    tokens, heads, width = query.shape
    mixed = query.new_empty((tokens, heads, width))
    for run in packing.runs:
        shape = (run.count, run.length, heads, width)
        part = slice(run.start, run.end)
        q, k, v = (x[part].view(shape).transpose(1, 2) for x in (query, key, value))  # (n, h, l, d)
        k, v = k[:, :, : run.attended], v[:, :, : run.attended]
        mixed[part].view(shape).copy_(scaled_dot_product_attention(q, k, v).transpose(1, 2))
    return mixed.view(tokens, heads * width)


def varlen(query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> Tensor:
    """As `attention`, in one kernel. CUDA, float16 or bfloat16."""
    from torch.nn.attention.varlen import (
        varlen_attn,
    )  # costs an import that CPU serving can do without

    ends, longest = packing.cumulative, packing.longest
    mixed = varlen_attn(query, key, value, ends, ends, longest, longest)
    assert isinstance(mixed, Tensor)
    return mixed.flatten(1)
