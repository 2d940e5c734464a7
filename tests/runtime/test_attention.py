import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from kubeembed_runtime.model.attention import Mask, attention, by_runs, varlen
from kubeembed_runtime.model.packing import Run, pack

CPU = torch.device("cpu")
LENGTHS = [1, 3, 3, 2, 5, 1]
STARTS = [0, 1, 4, 7, 9, 14, 15]


def test_runs_are_neighbours_of_one_length() -> None:
    packing = pack(LENGTHS, CPU)
    assert packing.runs == (
        Run(start=0, count=1, length=1, attended=1),
        Run(start=1, count=2, length=3, attended=3),
        Run(start=7, count=1, length=2, attended=2),
        Run(start=9, count=1, length=5, attended=5),
        Run(start=14, count=1, length=1, attended=1),
    )
    assert packing.cumulative.tolist() == STARTS
    assert packing.longest == 5


def test_attention_stays_within_each_sequence() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 15, 2, 4)
    mixed = attention(query, key, value, pack(LENGTHS, CPU))
    for start, length in zip(STARTS, LENGTHS, strict=False):
        q, k, v = (x[start : start + length].transpose(0, 1) for x in (query, key, value))
        alone = scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1)
        torch.testing.assert_close(mixed[start : start + length], alone)


MASKS = {
    "full": Mask(),
    "causal": Mask(causal=True),
    "window": Mask(reach=4),
    "causal window": Mask(causal=True, reach=4),
    "narrow window": Mask(reach=1),
    "wide window": Mask(reach=130),
}


def plain(query: Tensor, key: Tensor, value: Tensor, seen: int, mask: Mask, scale: float) -> Tensor:
    """One sequence, by the formula. query: (l, heads, d); returns (l, heads * d)."""
    length, groups = query.shape[0], query.shape[1] // key.shape[1]
    q, k, v = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
    k, v = k.repeat_interleave(groups, 0), v.repeat_interleave(groups, 0)
    distance = torch.arange(length) - torch.arange(length)[:, None]  # of key after query
    allowed = torch.arange(length).expand(length, length) < seen
    if mask.causal:
        allowed = allowed & (distance <= 0)
    if mask.reach is not None:
        allowed = allowed & (distance.abs() <= mask.reach)
    scores = (q @ k.transpose(1, 2) * scale).masked_fill(~allowed, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_masks_and_shared_heads_are_as_the_formula_has_them(mask: Mask, kv_heads: int) -> None:
    """Lengths around the window, and around the blocks that windows are cut into."""
    torch.manual_seed(0)
    lengths = [1, 4, 5, 6, 6, 127, 128, 129, 300, 300]
    query = torch.randn(sum(lengths), 4, 8)
    key, value = torch.randn(2, sum(lengths), kv_heads, 8)
    mixed = attention(query, key, value, pack(lengths, CPU), mask, 0.5).split(lengths)
    parts = zip(*(x.split(lengths) for x in (query, key, value)), strict=True)
    for ours, (q, k, v), length in zip(mixed, parts, lengths, strict=True):
        torch.testing.assert_close(ours, plain(q, k, v, length, mask, 0.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("causal", [False, True], ids=["both ways", "causal"])
def test_expansion_tokens_are_seen_by_nobody(causal: bool) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 17, 2, 4)
    lengths, attended = [3, 6, 8], [None, 2, 5]
    mask = Mask(causal=causal)
    mixed = attention(query, key, value, pack(lengths, CPU, attended), mask).split(lengths)
    parts = zip(*(x.split(lengths) for x in (query, key, value)), strict=True)
    for ours, (q, k, v), seen in zip(mixed, parts, attended, strict=True):
        wanted = plain(q, k, v, seen or len(q), mask, 0.5)
        torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)


def test_a_packing_tells_a_gpu_what_is_seen() -> None:
    assert pack([3, 6], CPU).seen is None
    assert pack([3, 6], CPU, [3, None]).seen is None
    seen = pack([3, 6], CPU, [None, 2]).seen
    assert seen is not None
    assert (seen.tolist(), seen.dtype) == ([3, 2], torch.int32)


def documented(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ends: Tensor,
    key_ends: Tensor,
    longest: int,
    longest_key: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
) -> Tensor:
    """torch's varlen_attn, as its documentation has it and as slow as can be: it has no CPU of its own."""
    assert torch.equal(ends, key_ends)
    assert longest == longest_key == int(ends.diff().max())
    assert enable_gqa == (key.shape[1] < query.shape[1])
    left, right = (2**30 if bound < 0 else bound for bound in window_size)
    used = ends.diff() if seqused_k is None else seqused_k
    mixed = []
    for first, last, keys in zip(ends[:-1], ends[1:], used, strict=True):
        q = query[first:last].transpose(0, 1)
        k, v = (x[first : first + keys].transpose(0, 1) for x in (key, value))
        ahead = torch.arange(k.shape[1]) - torch.arange(q.shape[1])[:, None]
        seen = (ahead <= right) & (-ahead <= left)
        part = scaled_dot_product_attention(
            q, k, v, attn_mask=seen, scale=scale, enable_gqa=enable_gqa
        )
        mixed.append(part.transpose(0, 1))
    return torch.cat(mixed)


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize(
    ("mask", "attended"),
    [*((mask, None) for mask in MASKS.values()), (Mask(), [None, 2, 5])],
    ids=[*MASKS, "expansions"],
)
def test_what_is_asked_of_the_kernel_of_the_gpu_means_the_same(
    mask: Mask, kv_heads: int, attended: list[int | None] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", documented)
    torch.manual_seed(0)
    query = torch.randn(17, 4, 8)
    key, value = torch.randn(2, 17, kv_heads, 8)
    packing = pack([3, 6, 8], CPU, attended)
    asked = varlen(query, key, value, packing, mask, 0.5)
    torch.testing.assert_close(asked, by_runs(query, key, value, packing, mask, 0.5))


GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize(
    "dtype", [pytest.param(d, marks=GPU) for d in (torch.float16, torch.bfloat16)], ids=str
)
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_the_kernel_of_the_gpu_says_the_same(mask: Mask, kv_heads: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    lengths = [1, 4, 5, 6, 6, 127, 128, 129, 300, 300]
    query = torch.randn(sum(lengths), 4, 64, device="cuda", dtype=dtype)
    key, value = torch.randn(2, sum(lengths), kv_heads, 64, device="cuda", dtype=dtype)
    parts = [None] * 9 + [200]  # with a window, a token may then see none
    for attended in (None, parts) if mask.reach is None else (None,):
        packing = pack(lengths, query.device, attended)
        wanted = by_runs(query, key, value, packing, mask)
        found = attention(query, key, value, packing, mask)
        torch.testing.assert_close(found, wanted, atol=2e-2, rtol=0)
