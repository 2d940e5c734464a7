"""The GPU's kernel for adapters in Python, over the same addresses: what a CPU tests its callers with."""

import ctypes

import torch
from torch import Tensor

from kubeembed_runtime.model.lora import MOST_PARTS

_NUMBERS = {torch.float32: ctypes.c_float, torch.int32: ctypes.c_int32, torch.int64: ctypes.c_int64}


def at(address: int, rows: int, columns: int, stride: int, dtype: torch.dtype) -> Tensor:
    """A view (rows, columns) of memory that begins there."""
    count = (rows - 1) * stride + columns
    numbers = (_NUMBERS[dtype] * count).from_address(address)
    return torch.frombuffer(numbers, dtype=dtype).as_strided((rows, columns), (stride, 1))


def add_adapters(
    blocks: int, y: int, x: int, tiles: int, y_stride: int, x_stride: int, site: int
) -> None:
    """As add_adapters.cu, in float32."""
    width = 4 + 5 * MOST_PARTS
    for flat, table, first, rows in at(tiles, blocks, 4, 4, torch.int64).tolist():
        if rows == 0:
            continue
        place = at(table + 4 * width * site, 1, width, width, torch.int32)[0].tolist()
        inputs, ranks, start, ups = place[:4]
        if ups == 0:
            continue
        given = at(x + 4 * first * x_stride, rows, inputs, x_stride, torch.float32)
        low = given @ at(flat + 4 * start, inputs, ranks, ranks, torch.float32)
        for up in range(ups):
            begin, rank, count, column, columns = place[4 + 5 * up : 9 + 5 * up]
            into = at(y + 4 * (first * y_stride + column), rows, columns, y_stride, torch.float32)
            wide = at(flat + 4 * begin, count, columns, columns, torch.float32)
            into += low[:, rank : rank + count] @ wide
