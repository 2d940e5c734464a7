"""Layer normalisation, and that of a sum: on a GPU in half precision one kernel, elsewhere torch's."""

import torch
from torch import Tensor
from torch.nn import functional

from kubeembed_runtime.model.kernels import Kernel, kernel

#: The widest row that a warp keeps in registers.
WIDEST = 2048

#: Rows of a block, a warp each.
ROWS = 4


class Norm:
    """Over the last dimension. adds: is a sum best left to it?"""

    def __init__(self, weight: Tensor, bias: Tensor, epsilon: float) -> None:
        self.weight, self.bias, self.epsilon = weight, bias, epsilon
        self._sum = _kernel(weight.numel(), weight.dtype, weight.device)
        self.adds = self._sum is not None

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)

    def sum(self, x: Tensor, other: Tensor) -> Tensor:
        """Of x + other: (t, h) both, contiguous. x may be overwritten."""
        if self._sum is None:
            return self(x + other)
        rows, parameters = x.shape[0], (self.weight.data_ptr(), self.bias.data_ptr())
        given = (x.data_ptr(), other.data_ptr(), *parameters, rows, self.epsilon)
        self._sum(-(-rows // ROWS), *given)
        return x


def _kernel(hidden: int, dtype: torch.dtype, device: torch.device) -> Kernel | None:
    if hidden % 8 or hidden > WIDEST:
        return None
    return kernel("add_norm", "PPPPif", (32, ROWS), dtype, device, HIDDEN=hidden)
