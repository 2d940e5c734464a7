"""Which precision is picked, on machines that are not here; and that a wrong one is put back."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.devices import (
    SAMPLED,
    Machine,
    Precision,
    buckets,
    build,
    gain_of_bfloat16,
    precision,
    sample,
)
from kubeembed_runtime.model.packing import Batch

CPU = torch.device("cpu")
F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16

OLD_CPU = Machine(cuda=False, bfloat16=False, float16=False)
NEW_CPU = Machine(cuda=False, bfloat16=True, float16=True)
OLD_GPU = Machine(cuda=True, bfloat16=False, float16=True)
NEW_GPU = Machine(cuda=True, bfloat16=True, float16=True)


@pytest.mark.parametrize(
    ("machine", "stored", "gain", "dtypes"),
    [
        (OLD_CPU, "float32", None, (F32,)),
        (OLD_CPU, "bfloat16", None, (F32,)),
        (NEW_CPU, "float32", 0.5, (F32,)),
        (NEW_CPU, "float32", 1.05, (F32,)),
        (NEW_CPU, "float32", 1.9, (BF16, F16, F32)),
        (NEW_CPU, "bfloat16", 1.9, (BF16,)),
        (NEW_GPU, "float32", None, (BF16, F16, F32)),
        (NEW_GPU, "bfloat16", None, (BF16,)),
        (OLD_GPU, "float32", None, (F16, F32)),
        (OLD_GPU, "float16", None, (F16,)),
    ],
    ids=str,
)
def test_auto_means_what_is_faster_on_the_machine(
    machine: Machine, stored: str, gain: float | None, dtypes: Sequence[torch.dtype]
) -> None:
    def timed() -> float:
        assert gain is not None, "not to be measured"
        return gain

    assert precision("auto", machine, {"dtype": stored}, timed).dtypes == dtypes
    assert precision("auto", machine, {"torch_dtype": stored}, timed).dtypes == dtypes


def never() -> float:
    raise AssertionError


def test_what_the_document_says_is_not_questioned() -> None:
    asked = precision("bfloat16", NEW_CPU, {}, never)
    assert asked == Precision(dtypes=(BF16,), why="spec.recipe.dtype")
    asked = precision("bfloat16", OLD_CPU, {}, never)
    assert asked.dtypes == (BF16,)
    assert asked.why.endswith("no arithmetic for: float32 is faster")


def test_float16_is_refused_where_there_is_none() -> None:
    with pytest.raises(StartFailed, match="write auto, float32 or bfloat16") as refused:
        precision("float16", OLD_CPU, {}, never)
    assert refused.value.reason is Reason.INVALID_RECIPE


class Rounding:
    """A body whose hidden states are its word embeddings, with an error of its dtype."""

    def __init__(self, dtype: torch.dtype, error: float) -> None:
        torch.manual_seed(0)
        self.words = torch.randn(100, 16)
        self.words += error * torch.randn(100, 16)
        self.dtype = dtype

    def __call__(self, batch: Batch) -> torch.Tensor:
        return self.words[batch.ids].to(self.dtype)


def built(errors: dict[torch.dtype, float]) -> tuple[torch.dtype, list[torch.dtype]]:
    """What is taken of those, in this order; and which were built."""
    made: list[torch.dtype] = []

    def make(dtype: torch.dtype) -> Rounding:
        made.append(dtype)
        return Rounding(dtype, errors.get(dtype, 0))

    chosen = Precision(dtypes=tuple(errors), why="of a test")
    body, dtype = build(chosen, make, vocabulary=100, device=CPU)
    assert body.dtype == dtype
    return dtype, made


@pytest.mark.parametrize(
    ("errors", "taken", "made"),
    [
        ({F32: 0}, F32, [F32]),
        ({BF16: 9}, BF16, [BF16]),
        ({BF16: 0.001, F16: 0, F32: 0}, BF16, [F32, BF16]),
        ({BF16: 0.1, F16: 0.001, F32: 0}, F16, [F32, BF16, F16]),
        ({BF16: 0.1, F16: 0.1, F32: 0}, F32, [F32, BF16, F16, F32]),
        ({F16: float("inf"), F32: 0}, F32, [F32, F16, F32]),
    ],
    ids=["float32", "nothing to compare", "right", "second is right", "none is right", "overflow"],
)
def test_the_first_precision_that_keeps_to_float32_is_taken(
    errors: dict[torch.dtype, float], taken: torch.dtype, made: list[torch.dtype]
) -> None:
    assert built(errors) == (taken, made)


def test_the_log_says_what_was_picked_and_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    built({BF16: 0.1, F32: 0})
    [line] = caplog.messages
    assert line.startswith("computing in float32: of a test; cosine of bfloat16 to float32 0.9")


def test_where_float32_does_not_fit_nothing_is_compared(caplog: pytest.LogCaptureFixture) -> None:
    def make(dtype: torch.dtype) -> Rounding:
        if dtype is F32:
            raise torch.OutOfMemoryError
        return Rounding(dtype, 0)

    caplog.set_level(logging.INFO)
    chosen = Precision(dtypes=(BF16, F32), why="of a test")
    assert build(chosen, make, vocabulary=100, device=CPU)[1] is BF16
    assert "not compared" in caplog.text


def test_the_sample_is_the_same_at_every_start() -> None:
    assert sample(1000, SAMPLED) == sample(1000, SAMPLED)
    assert [item.tokens for item in sample(4, SAMPLED)] == list(SAMPLED)
    assert all(250 <= token <= 750 for item in sample(1000, SAMPLED) for token in item.ids)


def test_timing_is_bounded_by_rounds_and_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock here goes on by a tenth of a second whenever it is read."""
    products = 0
    usual: Callable[..., torch.Tensor] = torch.mm

    def counted(*given: Any) -> torch.Tensor:
        nonlocal products
        products += 1
        return usual(*given)

    ticks = iter(range(1000))
    monkeypatch.setattr(torch, "mm", counted)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 10)
    assert gain_of_bfloat16(8, 8) == pytest.approx(1)
    assert products == 4


def test_a_gpu_is_warmed_up_by_doubling_up_to_the_budget() -> None:
    assert buckets(1000, 512, CPU) == []
    cuda = torch.device("cuda")
    assert buckets(1000, 512, cuda) == [(1, 32), (2, 32), (4, 32), (8, 32), (16, 32), (1, 512)]
    assert buckets(64, 8, cuda) == [(1, 8), (2, 8), (4, 8), (8, 8), (8, 8)]
    assert buckets(64, 512, cuda) == [(1, 32), (2, 32), (1, 512)]
