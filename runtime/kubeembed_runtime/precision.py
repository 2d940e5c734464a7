"""float32 vectors -> the smaller types that a caller may ask for, and back.

int8 and uint8 are scaled per vector, not per dimension: a server sees one text at a time, and ranges per
dimension (sentence-transformers' quantize_embeddings) need a calibration set that both sides of a search
share. Here every answer carries its own scale, so it can be restored by whoever receives it; the price is
that dot products of the integers compare only after multiplying by the scales. binary and ubinary are
sentence-transformers' own, bit for bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Precision = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]

Floats = NDArray[np.float32]

#: The largest number of float16; what is larger becomes this and not infinity.
_LARGEST_HALF = 65504.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """values: (..., d), or (..., ceil(d / 8)) bytes of d bits for the binary two, the first bit highest.

    scale, offset: (...,) float32, one per vector, where there is one: a vector is values * scale + offset.
    """

    values: NDArray[Any]
    precision: Precision
    dimensions: int
    scale: Floats | None = None
    offset: Floats | None = None


def quantize(vectors: Floats, precision: Precision) -> Quantized:
    """vectors: (..., d) float32, a dense vector, several, or the tokens of a multi-vector output."""
    return _QUANTIZERS[precision](vectors)


def restore(quantized: Quantized) -> Floats:
    """(..., d) float32, as near as the precision allows; +1 and -1 for the binary two."""
    values = quantized.values
    if quantized.precision in ("binary", "ubinary"):
        bits = np.unpackbits(_unsigned(values), axis=-1, count=quantized.dimensions)
        return bits.astype(np.float32) * 2 - 1
    restored = values.astype(np.float32)
    if quantized.scale is not None:
        restored *= quantized.scale[..., None]
    if quantized.offset is not None:
        restored += quantized.offset[..., None]
    return restored


def _float32(vectors: Floats) -> Quantized:
    values = np.asarray(vectors, dtype=np.float32)
    return Quantized(values=values, precision="float32", dimensions=values.shape[-1])


def _float16(vectors: Floats) -> Quantized:
    values = np.clip(vectors, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
    return Quantized(values=values, precision="float16", dimensions=values.shape[-1])


def _int8(vectors: Floats) -> Quantized:
    """Symmetric: the largest absolute value becomes 127, 0 stays 0."""
    scale = _scale(np.abs(vectors).max(axis=-1, initial=0) / 127)
    # The clip is for scales so small that they are rounded themselves.
    values = np.clip(np.rint(vectors / scale[..., None]), -127, 127).astype(np.int8)
    return Quantized(values=values, precision="int8", dimensions=vectors.shape[-1], scale=scale)


def _uint8(vectors: Floats) -> Quantized:
    """Affine: the smallest value becomes 0, the largest 255."""
    offset = vectors.min(axis=-1).astype(np.float32)
    scale = _scale((vectors.max(axis=-1) - offset) / 255)
    steps = np.rint((vectors - offset[..., None]) / scale[..., None])
    values = np.clip(steps, 0, 255).astype(np.uint8)
    return Quantized(
        values=values,
        precision="uint8",
        dimensions=vectors.shape[-1],
        scale=scale,
        offset=offset,
    )


def _scale(steps: Floats) -> Floats:
    """1 where all values are one: any scale restores them."""
    return np.where(steps > 0, steps, 1).astype(np.float32)


def _binary(vectors: Floats) -> Quantized:
    values = (np.packbits(vectors > 0, axis=-1) ^ np.uint8(0x80)).view(np.int8)
    return Quantized(values=values, precision="binary", dimensions=vectors.shape[-1])


def _ubinary(vectors: Floats) -> Quantized:
    values = np.packbits(vectors > 0, axis=-1)
    return Quantized(values=values, precision="ubinary", dimensions=vectors.shape[-1])


def _unsigned(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of ubinary; binary's are 128 less."""
    if values.dtype == np.int8:
        return values.view(np.uint8) ^ np.uint8(0x80)
    return values.view(np.uint8)


_QUANTIZERS: Mapping[Precision, Callable[[Floats], Quantized]] = {
    "float32": _float32,
    "float16": _float16,
    "int8": _int8,
    "uint8": _uint8,
    "binary": _binary,
    "ubinary": _ubinary,
}
