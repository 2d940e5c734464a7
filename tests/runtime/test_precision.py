from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from kubeembed_runtime.precision import Floats, Precision, Quantized, quantize, restore

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

VECTORS = arrays(
    np.float32,
    array_shapes(min_dims=1, max_dims=2, max_side=20),
    elements=st.floats(-(2.0**20), 2.0**20, width=32),
)


def unit(count: int = 5, dimensions: int = 384) -> Floats:
    made = np.random.default_rng(0).standard_normal((count, dimensions), dtype=np.float32)
    vectors: Floats = made / np.linalg.norm(made, axis=1, keepdims=True)
    return vectors


def same(one: Quantized, other: Quantized) -> None:
    assert one.precision == other.precision
    for name in ("values", "scale", "offset"):
        mine, its = getattr(one, name), getattr(other, name)
        assert (mine is None) == (its is None)
        if mine is not None:
            assert mine.dtype == its.dtype
            assert mine.tolist() == its.tolist()


def whole(
    values: object, precision: Precision, scale: float | None, offset: float | None
) -> Quantized:
    kinds = {"float16": np.float16, "int8": np.int8, "binary": np.int8, "float32": np.float32}
    return Quantized(
        values=np.array(values, dtype=kinds.get(precision, np.uint8)),
        precision=precision,
        dimensions=3,
        scale=None if scale is None else np.array(scale, dtype=np.float32),
        offset=None if offset is None else np.array(offset, dtype=np.float32),
    )


@pytest.mark.parametrize(
    "wanted",
    [
        whole([-127, 0.5, 63.5], "float32", None, None),
        whole([-127, 0.5, 63.5], "float16", None, None),
        whole([-127, 0, 64], "int8", 1, None),
        whole([0, 170, 255], "uint8", 0.75, -127),
        whole([0b01100000 - 128], "binary", None, None),
        whole([0b01100000], "ubinary", None, None),
    ],
    ids=lambda wanted: wanted.precision,
)
def test_a_vector_in_every_precision(wanted: Quantized) -> None:
    vector = np.array([-127, 0.5, 63.5], dtype=np.float32)
    if wanted.precision == "uint8":
        vector = np.array([-127, 0.5, 64.25], dtype=np.float32)
    same(quantize(vector, wanted.precision), wanted)


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(deadline=None)  # other processes share the cores
@given(vectors=VECTORS)
def test_restored_numbers_are_half_a_step_away(precision: Precision, vectors: Floats) -> None:
    quantized = quantize(vectors, precision)
    restored = restore(quantized)
    assert restored.dtype == np.float32
    assert restored.shape == vectors.shape
    if precision in ("binary", "ubinary"):
        assert restored.tolist() == np.where(vectors > 0, 1, -1).tolist()
        return
    step = (
        np.abs(np.clip(vectors, -65504, 65504)) * 2**-10 + 2**-24 if precision == "float16" else 0
    )
    if quantized.scale is not None:
        step = quantized.scale[..., None] * 0.501 + np.abs(vectors).max() * 1e-6
    expected = np.clip(vectors, -65504, 65504) if precision == "float16" else vectors
    assert (np.abs(restored - expected) <= step).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_vector_does_not_depend_on_its_neighbours(precision: Precision) -> None:
    vectors = unit()
    together = quantize(vectors, precision)
    for place, vector in enumerate(vectors):
        alone = quantize(vector, precision)
        assert alone.values.tolist() == together.values[place].tolist()
        for name in ("scale", "offset"):
            mine, theirs = getattr(alone, name), getattr(together, name)
            assert mine is None or mine == theirs[place]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dimensions", [1, 7, 8, 9])
def test_no_vectors_and_no_numbers_are_no_error(precision: Precision, dimensions: int) -> None:
    assert len(quantize(np.zeros((0, dimensions), dtype=np.float32), precision).values) == 0
    zeros = np.zeros((2, dimensions), dtype=np.float32)
    restored = restore(quantize(zeros, precision))
    assert restored.shape == (2, dimensions)
    assert np.isfinite(restored).all()


@pytest.mark.parametrize(("precision", "least"), [("int8", 0.9999), ("uint8", 0.9999)])
def test_eight_bits_keep_the_direction(precision: Precision, least: float) -> None:
    vectors = unit()
    restored = restore(quantize(vectors, precision))
    cosines = (vectors * restored).sum(axis=1) / np.linalg.norm(restored, axis=1)
    assert cosines.min() > least
