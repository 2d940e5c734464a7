"""x W + b and what follows it: oneDNN's and torch's own agree, and batches have few numbers of rows."""

import pytest
import torch
from torch import Tensor

from kubeembed_runtime.model.products import ACTIVATIONS, Plain, Prepacked, product, rounded

ROWS = (1, 2, 12, 65, 300)


def parameters() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(48, 32) / 6, torch.randn(48)


@pytest.mark.parametrize("made", [Plain, Prepacked], ids=["torch", "oneDNN"])
@pytest.mark.parametrize("rows", ROWS)
@torch.inference_mode()
def test_the_sums_and_activations_are_those_of_a_linear_layer(
    rows: int, made: type[Plain | Prepacked]
) -> None:
    weight, bias = parameters()
    x, other = torch.randn(rows, 32), torch.randn(rows, 48)
    y = torch.nn.functional.linear(x, weight, bias)
    found = made(weight, bias)
    torch.testing.assert_close(found(x), y, atol=2e-6, rtol=0)
    torch.testing.assert_close(found.plus(x, other), y + other, atol=2e-6, rtol=0)
    for name, activation in ACTIVATIONS.items():
        torch.testing.assert_close(
            found.activated(x, name), activation(y), atol=2e-6, rtol=0, msg=name
        )


def test_a_cpu_has_kernels_for_float32() -> None:
    assert isinstance(product(*parameters()), Prepacked)


def test_a_precision_that_the_cpu_would_emulate_is_left_to_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ops = torch.ops.mkldnn
    monkeypatch.setattr(ops, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(ops, "_is_mkldnn_fp16_supported", lambda: False)
    for dtype in (torch.bfloat16, torch.float16):
        weight, bias = (each.to(dtype) for each in parameters())
        assert isinstance(product(weight, bias), Plain)


def test_batches_have_few_numbers_of_rows_and_little_is_wasted() -> None:
    numbers = [rounded(rows) for rows in range(1, 1025)]
    assert len(set(numbers)) == 44
    assert all(0 <= wide - rows < max(4, rows / 4) for rows, wide in enumerate(numbers, 1))
    assert (rounded(4), rounded(65), rounded(257), rounded(513)) == (4, 72, 288, 640)
