"""Vectors -> SIE's values: in msgpack a map with binary keys, which its SDK demands; in JSON plain lists.

int8 and uint8 come with their scales beside, as extra keys that its SDK passes over. "binary" are bits packed
into uint8, the first bit highest: what the SDK's users know from SIE, and sentence-transformers' "ubinary".
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kubeembed_runtime.precision import Precision, Quantized, quantize
from kubeembed_runtime.requests import Output, Sparse, Vector

#: What a caller may ask for.
Dtype = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]

Pack = Callable[[NDArray[Any]], Any]

_PRECISIONS: Mapping[Dtype, Precision] = {
    "float32": "float32",
    "float16": "float16",
    "int8": "int8",
    "uint8": "uint8",
    "binary": "ubinary",
    "ubinary": "ubinary",
}


def pack(array: NDArray[Any]) -> dict[bytes, Any]:
    """As msgpack_numpy writes it: little-endian, in C's order."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        b"nd": True,
        b"type": little.dtype.str,
        b"kind": b"",
        b"shape": list(array.shape),
        b"data": little.tobytes(),
    }


def unpacked(array: NDArray[Any]) -> NDArray[Any]:
    """For JSON, which is written from the array's own memory: no more digits than tell numbers apart."""
    return np.ascontiguousarray(array)


def values(output: Output, dtype: Dtype, pack: Pack, vocabulary: int | None) -> dict[str, Any]:
    """The keys of one result, but for its id: one for each kind that the model gave.

    vocabulary: how many entries a sparse vector could have.
    """
    found: dict[str, Any] = {}
    if output.dense is not None:
        found["dense"] = _dense(output.dense, dtype, pack)
    if output.sparse is not None:
        found["sparse"] = _sparse(output.sparse, dtype, pack, vocabulary)
    if output.multivector is not None:
        found["multivector"] = _multivector(output.multivector, dtype, pack)
    return found


def _dense(vector: Vector, dtype: Dtype, pack: Pack) -> dict[str, Any]:
    quantized = quantize(vector, _PRECISIONS[dtype])
    beside = {
        name: float(number)
        for name, number in (("scale", quantized.scale), ("offset", quantized.offset))
        if number is not None
    }
    return {"dims": quantized.dimensions, **_common(quantized, dtype, pack), **beside}


def _multivector(vectors: Vector, dtype: Dtype, pack: Pack) -> dict[str, Any]:
    quantized = quantize(vectors, _PRECISIONS[dtype])
    beside = {
        name: pack(numbers)
        for name, numbers in (("scales", quantized.scale), ("offsets", quantized.offset))
        if numbers is not None
    }
    shape = {"token_dims": quantized.dimensions, "num_tokens": len(vectors)}
    return {**shape, **_common(quantized, dtype, pack), **beside}


def _common(quantized: Quantized, dtype: Dtype, pack: Pack) -> dict[str, Any]:
    return {"dtype": dtype, "values": pack(quantized.values)}


def _sparse(sparse: Sparse, dtype: Dtype, pack: Pack, vocabulary: int | None) -> dict[str, Any]:
    """Weights stay float32 unless half of that is asked for: there are few, and they need no other type."""
    precision: Dtype = "float16" if dtype == "float16" else "float32"
    weights = quantize(sparse.values, _PRECISIONS[precision]).values
    return {
        "dims": vocabulary,
        "dtype": precision,
        "indices": pack(sparse.indices),
        "values": pack(weights),
    }
