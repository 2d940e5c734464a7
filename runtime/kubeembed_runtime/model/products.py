"""x W + b on the device at hand, with what follows the product in the same kernel where there is one.

On a CPU the weights are laid out once, at load, for oneDNN: it uses what the CPU has, whoever made it, where
the BLAS of torch keeps to half of it on some. Its kernels are compiled for a number of rows, at half a
millisecond and half a megabyte each, so a batch is rounded up to one of few numbers.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
}

#: Those that oneDNN applies itself: its name of it, and of the way to compute it.
_FUSED: Mapping[str, tuple[str, str]] = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}

#: Rows that the layout of the weights is chosen for. Other numbers use the same one, equally fast.
_USUAL_ROWS = 256

#: Batches of at least so many rows are rounded up to multiples of the second: few sizes, little waste.
_STEPS = ((512, 128), (256, 32), (128, 16), (64, 8), (0, 4))


class Product(Protocol):
    """x: (t, in); all return (t, out)."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """x W + b + other."""
        ...

    def activated(self, x: Tensor, activation: str) -> Tensor:
        """The activation, by its name in ACTIVATIONS, of x W + b."""
        ...


def product(weight: Tensor, bias: Tensor) -> Product:
    """weight: (out, in), as checkpoints have it."""
    return Prepacked(weight, bias) if _has_kernels(weight) else Plain(weight, bias)


def _has_kernels(weight: Tensor) -> bool:
    """Has oneDNN kernels of its own for this dtype on this CPU? Emulated ones are not worth it."""
    ops = torch.ops.mkldnn
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if weight.dtype is torch.bfloat16:
        return bool(ops._is_mkldnn_bf16_supported())
    if weight.dtype is torch.float16:
        return bool(ops._is_mkldnn_fp16_supported())
    return True


def rounded(rows: int) -> int:
    """The next number of rows that kernels are compiled for."""
    step = next(step for least, step in _STEPS if rows > least)
    return -(-rows // step) * step


class Plain:
    """The weight lies as (in, out): at few rows that is faster than the usual (out, in)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight.t().contiguous(), bias

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addmm(self._bias, x, self._weight)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """As Product has it."""
        return other + self(x)

    def activated(self, x: Tensor, activation: str) -> Tensor:
        """As Product has it.

        On a GPU in half precision the product applies GELU itself. It is the tanh form, which is nearer to
        the exact one than what is rounded between product and GELU.
        """
        half = x.dtype in (torch.float16, torch.bfloat16)
        if activation.startswith("gelu") and x.is_cuda and half:
            return torch._addmm_activation(self._bias, x, self._weight, use_gelu=True)
        return ACTIVATIONS[activation](self(x))


class Prepacked:
    """For a CPU: the weight as oneDNN wants it, read by every thread."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _USUAL_ROWS)
        self._bias = bias
        self._sum = torch.ops.mkldnn._linear_pointwise.binary  # dear to look up

    def __call__(self, x: Tensor) -> Tensor:
        return self._linear(x, "none", "")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """As Product has it."""
        sums: Tensor = self._sum(x, other, self._weight, self._bias, "add")
        return sums

    def activated(self, x: Tensor, activation: str) -> Tensor:
        """As Product has it."""
        if activation in _FUSED:
            return self._linear(x, *_FUSED[activation])
        return ACTIVATIONS[activation](self(x))

    def _linear(self, x: Tensor, then: str, how: str) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, then, [], how)
        return y
