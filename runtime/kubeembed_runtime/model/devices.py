"""Which device, and in which precision: what the document says, else what is faster here and still right.

Nothing about speed is assumed: there are CPUs where bfloat16 takes half as long as float32, twice as long, or
a hundred times. Nor about rightness: what is narrower than the weights' own precision is compared first.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.packing import Batch, batch
from kubeembed_runtime.requests import Item

logger = logging.getLogger(__name__)

T = TypeVar("T", bound=Callable[[Batch], Tensor])

#: Tokens of the batch that is timed, and how wide its matrices are at most: enough to be bound by arithmetic.
ROWS = 128
WIDEST = 2048

#: Seconds after which no further round is timed.
PATIENCE = 0.15
ROUNDS = 8

#: A narrower precision has to be so much faster: below that its rounding is not worth it.
GAIN = 1.1

#: Cosine to float32 that a narrower precision has to keep.
RIGHT = 0.9995

#: Lengths of the sequences that are compared.
SAMPLED = (5, 17, 40)


def find() -> torch.device:
    """The device of this process: operators give a pod one GPU or none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What torch knows of a device. The tests have others."""

    cuda: bool
    bfloat16: bool  # arithmetic of its own, not an emulation
    float16: bool


def look(device: torch.device) -> Machine:
    """The machine that this process runs on."""
    if device.type == "cuda":
        return Machine(cuda=True, bfloat16=torch.cuda.is_bf16_supported(False), float16=True)
    return Machine(
        cuda=False,
        bfloat16=bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        float16=bool(torch.ops.mkldnn._is_mkldnn_fp16_supported()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Dtypes to try in this order, the last without a check, and why, for the log."""

    dtypes: tuple[torch.dtype, ...]
    why: str


def precision(
    wanted: str,
    machine: Machine,
    config: Mapping[str, Any],
    timed: Callable[[], float],
) -> Precision:
    """What the document wants, or what `auto` means on this machine. Raises StartFailed.

    timed: how many times as fast bfloat16 is as float32, measured at the model's own shapes.
    """
    if wanted == "float16" and not machine.float16:
        problem = "spec.recipe.dtype is float16, for which this CPU has no arithmetic"
        raise StartFailed(Reason.INVALID_RECIPE, f"{problem}; write auto, float32 or bfloat16")
    if wanted != "auto":
        emulated = wanted == "bfloat16" and not machine.bfloat16
        slow = ", which this device has no arithmetic for: float32 is faster" if emulated else ""
        return Precision(dtypes=(getattr(torch, wanted),), why=f"spec.recipe.dtype{slow}")
    if machine.cuda:
        half = torch.bfloat16 if machine.bfloat16 else torch.float16
        return _kept(half, config, "half precision is what the GPU is fast in")
    if not machine.bfloat16:
        return Precision(
            dtypes=(torch.float32,), why="this CPU has no arithmetic of its own for bfloat16"
        )
    gain = timed()
    told = f"bfloat16 is {gain:.2f} times as fast here"
    if gain < GAIN:
        return Precision(dtypes=(torch.float32,), why=told)
    return _kept(torch.bfloat16, config, told)


def _kept(half: torch.dtype, config: Mapping[str, Any], why: str) -> Precision:
    """Weights that are stored in this precision lose nothing by it; others are compared."""
    stored = config.get("dtype") or config.get("torch_dtype")
    if stored == str(half).removeprefix("torch."):
        return Precision(dtypes=(half,), why=f"{why}, and the weights are stored so")
    others = (torch.float16, torch.float32) if half is torch.bfloat16 else (torch.float32,)
    return Precision(dtypes=(half, *others), why=why)


def gain_of_bfloat16(width: int, inner: int, rounds: int = ROUNDS) -> float:
    """Interleaved products (ROWS, width) x (width, inner), the best of each."""
    width, inner = min(width, WIDEST), min(inner, WIDEST)
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    given = {
        dtype: (torch.ones(ROWS, width, dtype=dtype), torch.ones(width, inner, dtype=dtype))
        for dtype in best
    }
    end = time.perf_counter() + PATIENCE
    for turn in range(rounds + 1):
        for dtype, (rows, weight) in given.items():
            begun = time.perf_counter()
            torch.mm(rows, weight)
            if turn:  # the first of each sets up
                best[dtype] = min(best[dtype], time.perf_counter() - begun)
        if turn and time.perf_counter() > end:
            break
    return best[torch.float32] / best[torch.bfloat16]


def build(
    chosen: Precision,
    made: Callable[[torch.dtype], T],
    *,
    vocabulary: int,
    device: torch.device,
) -> tuple[T, torch.dtype]:
    """The body in the first dtype that keeps to float32's vectors."""
    first, *others = chosen.dtypes
    if not others:
        return _told(made(first), first, chosen.why)
    items = sample(vocabulary, SAMPLED)
    try:
        exact = _hidden(made(torch.float32), items, device)
    except torch.OutOfMemoryError:
        why = f"{chosen.why}; not compared, float32 does not fit the device"
        return _told(made(first), first, why)
    why = chosen.why
    for dtype in chosen.dtypes[:-1]:
        body = made(dtype)
        cosine = worst_cosine(exact, _hidden(body, items, device), SAMPLED)
        why = f"{why}; cosine of {name(dtype)} to float32 {cosine:.5f}"
        if cosine >= RIGHT:
            return _told(body, dtype, why)
        del body
    return _told(made(chosen.dtypes[-1]), chosen.dtypes[-1], why)


def sample(vocabulary: int, lengths: Sequence[int]) -> list[Item]:
    """Made-up sequences, the same at every start, from the middle of the vocabulary: no special tokens."""
    ids = torch.Generator().manual_seed(0)
    low, high = vocabulary // 4, 3 * vocabulary // 4 + 1
    return [Item(ids=torch.randint(low, high, (n,), generator=ids).tolist()) for n in lengths]


@torch.inference_mode()
def _hidden(body: Callable[[Batch], Tensor], items: Sequence[Item], device: torch.device) -> Tensor:
    return body(batch(items, device)).float().cpu()


def worst_cosine(exact: Tensor, found: Tensor, lengths: Sequence[int]) -> float:
    """Of any of the sequences: a token alone may differ more than the vector that is made of all.

    Not a number where one overflows.
    """
    parts = list(lengths)
    pairs = zip(exact.split_with_sizes(parts), found.split_with_sizes(parts), strict=True)
    cosines = [cosine_similarity(a.flatten(), b.flatten(), 0) for a, b in pairs]
    return float(torch.stack(cosines).min())


def _told(body: T, dtype: torch.dtype, why: str) -> tuple[T, torch.dtype]:
    logger.info("computing in %s: %s", name(dtype), why)
    return body, dtype


def name(dtype: torch.dtype) -> str:
    """As documents and metrics have it: float32."""
    return str(dtype).removeprefix("torch.")


def buckets(budget: int, longest: int, device: torch.device) -> list[tuple[int, int]]:
    """(sequences, their length) of the batches that warm a device up: doubling up to the token budget.

    A GPU picks kernels and takes memory by size, and the first batch of each size pays for it. On a CPU
    there is nothing to win.
    """
    if device.type == "cpu":
        return []
    short = [(1 << n, min(32, longest)) for n in range(budget.bit_length())]
    fitting = [(count, length) for count, length in short if count * length <= budget]
    return [*fitting, (max(1, budget // longest), longest)]
