import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from kubeembed_runtime.model.attention import attention, by_runs
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_kernel_of_the_gpu_says_the_same(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 15, 2, 64, device="cuda", dtype=dtype)
    packing = pack(LENGTHS, query.device)
    wanted = by_runs(query, key, value, packing)
    torch.testing.assert_close(attention(query, key, value, packing), wanted, atol=2e-2, rtol=0)
