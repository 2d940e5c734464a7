"""The norm of a sum, by a kernel or without, against torch's in float64."""

import pytest
import torch
from torch.nn import functional

from kubeembed_runtime.model.norms import WIDEST, Norm

GPU = [
    pytest.param("cuda", dtype, 384, marks=pytest.mark.gpu)
    for dtype in (torch.float32, torch.bfloat16, torch.float16)
]
WIDTHS = [
    pytest.param("cuda", torch.bfloat16, hidden, marks=pytest.mark.gpu)
    for hidden in (8, 256, 392, 768, 1024, WIDEST, WIDEST + 8, 36)
]
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}


@pytest.mark.parametrize(
    ("device", "dtype", "hidden"), [("cpu", torch.float32, 384), *GPU, *WIDTHS], ids=str
)
@pytest.mark.parametrize("rows", [1, 5, 300])
@torch.inference_mode()
def test_a_sum_is_normalised(device: str, dtype: torch.dtype, hidden: int, rows: int) -> None:
    torch.manual_seed(0)
    x, other = (3 * torch.randn(2, rows, hidden) + 1).to(device, dtype)
    weight, bias = torch.randn(2, hidden).to(device, dtype)
    norm = Norm(weight, bias, 1e-3)
    exact = functional.layer_norm(
        x.double() + other.double(), (hidden,), weight.double(), bias.double(), 1e-3
    )
    found = norm.sum(x, other).double()
    assert float((found - exact).norm() / exact.norm()) <= TOLERANCE[dtype]
    assert norm.adds == (device == "cuda" and dtype != torch.float32 and hidden in KERNELS)


KERNELS = (8, 256, 384, 392, 768, 1024, WIDEST)
