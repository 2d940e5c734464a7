"""A loaded model is held to golden vectors before it is Ready: one that gives others never takes a request.
An adapter is before it has its name, and the earlier one of that name keeps it; a pod of a roll-out takes no
request without it.

The base's file is read before anything heavy is loaded, so that a wrong one is known in a second; the vectors
of an adapter come with it from the operator, or lie beside the base's where the process starts with it.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass

from kubeembed_api.golden import GoldenText, cosine, grouped
from kubeembed_api.reasons import Reason
from kubeembed_runtime.adapters import Adapter, AdapterState, ToldGolden
from kubeembed_runtime.errors import (
    AdapterDiffers,
    DeviceFailed,
    Loading,
    NotFinite,
    OutOfMemory,
    QueueFull,
    RequestFailed,
    StartFailed,
)
from kubeembed_runtime.goldenfiles import Golden, adapter_texts, told_texts
from kubeembed_runtime.pipeline import Pipeline
from kubeembed_runtime.protocols import Model
from kubeembed_runtime.requests import Encoded, EncodeRequest, Prompting

logger = logging.getLogger(__name__)

#: Texts that are on their way at a time, and characters of them: the batcher makes batches of these, and its
#: queue never fills by them alone, however slow the device is.
AT_ONCE, CHARACTERS_AT_ONCE = 64, 65_536

#: How often a text is asked for again of a pod that is full, and seconds between two times at most.
TRIES, MOST_SECONDS = 20, 1.0

#: Cosines are rounded: that of a vector with itself is 1 - 1e-16 at times, and minCosine may be 1.
ROUNDING = 1e-9

#: Seconds between two looks whether there still is a loop that a thread can wait for.
LOOK_SECONDS = 1.0

Encode = Callable[[EncodeRequest], Awaitable[Encoded]]

#: Characters of a text that a message shows.
SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of a text. problem: why it has no cosine; error: what the model raised."""

    place: int
    text: GoldenText
    cosine: float = -1.0
    problem: str = ""
    error: RequestFailed | None = None

    def __str__(self) -> str:
        side = f" ({self.text.side})" if self.text.side else ""
        shown = self.text.text[:SHOWN_CHARACTERS]
        cut = "…" if len(self.text.text) > SHOWN_CHARACTERS else ""
        # down, not to the nearest: what is below minCosine never reads as if it were not
        said = self.problem or f"has cosine {math.floor(self.cosine * 1e6) / 1e6:.6f}"
        return f"line {self.place}{side}, {shown + cut!r}, {said}"


async def check(model: Model, golden: Golden) -> None:
    """Raises StartFailed: GoldenMismatch that shows the worst text, or what the device failed of; in a
    roll-out also that of an adapter."""
    if golden.texts:
        await _check_base(model, golden)
    if golden.rolls_out:
        _check_loaded(model.registry.states, golden)


async def _check_base(model: Model, golden: Golden) -> None:
    if "dense" not in model.info.outputs:
        gives = ", ".join(model.info.outputs)
        raise StartFailed(
            Reason.GOLDEN_MISMATCH, f"golden vectors are dense, and the model gives {gives}"
        )
    found = [one async for one in _found(model.encode, golden.texts)]
    for one in found:
        _raise_of_device(one.error)
    problem = _problem(found, golden.min_cosine)
    if problem is not None:
        this_pod = f"This pod (fingerprint {model.info.fingerprint}) takes no requests"
        raise StartFailed(Reason.GOLDEN_MISMATCH, f"{problem}. {this_pod}")


def _check_loaded(adapters: Sequence[AdapterState], golden: Golden) -> None:
    """Raises StartFailed for the first that has golden vectors and can't be served. One that is not where it
    should be is fetched again, and held to them then."""
    amiss = [
        each
        for each in adapters
        if each.problem is not None and each.reason is not Reason.WEIGHTS_MISSING
        if golden.holds(each.name)
    ]
    if amiss:
        first, *others = amiss
        also = f". Nor can {', '.join(each.name for each in others)}" if others else ""
        said = f"{first.problem}{also}. This pod takes no requests, so its roll-out stops"
        raise StartFailed(first.reason or Reason.ADAPTER_REFUSED, said)


def prover(
    golden: Golden | None, loop: asyncio.AbstractEventLoop
) -> Callable[[Pipeline], Callable[[Adapter, ToldGolden | None], None]]:
    """What holds adapters to their golden vectors, in the thread that loads them; the texts are embedded
    beside the requests that `loop` answers."""

    def of(pipeline: Pipeline) -> Callable[[Adapter, ToldGolden | None], None]:
        def prove(adapter: Adapter, told: ToldGolden | None) -> None:
            texts, least = _texts_of(adapter.name, told, golden)
            if texts:
                checking = _check_adapter(pipeline, adapter, texts, least)
                _wait(checking, loop)

        return prove

    return of


def _wait(checking: Coroutine[None, None, None], loop: asyncio.AbstractEventLoop) -> None:
    """Until the loop has run it. Raises what it does; DeviceFailed where the loop ended before it began."""
    future = asyncio.run_coroutine_threadsafe(checking, loop)
    while True:
        try:
            return future.result(LOOK_SECONDS)
        except TimeoutError:
            if future.done():  # just now, or with a TimeoutError of its own
                return future.result()
            if loop.is_closed():
                checking.close()
                raise DeviceFailed("the runtime has stopped") from None


def _texts_of(
    name: str, told: ToldGolden | None, golden: Golden | None
) -> tuple[tuple[GoldenText, ...], float]:
    """Texts, and how near is near enough: by what came with the adapter, else by what lies beside us."""
    if told is not None:
        return told_texts(told.lines, name), told.min_cosine
    return (adapter_texts(golden, name), golden.min_cosine) if golden is not None else ((), 0.0)


async def _check_adapter(
    pipeline: Pipeline, adapter: Adapter, texts: Sequence[GoldenText], min_cosine: float
) -> None:
    """Raises AdapterDiffers; Loading where the pod has too much to do to say, so that it is asked again."""
    found = []
    async for one in _found(lambda r: pipeline.encode_with(r, adapter), texts):
        if isinstance(one.error, QueueFull):
            raise Loading(f"{pipeline.info.name}:{adapter.name}", one.error.retry_after)
        found.append(one)
    problem = _problem(found, min_cosine)
    if problem is not None:
        raise AdapterDiffers(f"{problem} (fingerprint {adapter.fingerprint})")


def _problem(found: Sequence[Found], min_cosine: float) -> str | None:
    worst = min(found, key=lambda one: one.cosine)
    amiss = sum(one.cosine < min_cosine - ROUNDING for one in found)
    if amiss:
        few = f"{amiss} of {len(found)} golden texts are below minCosine {min_cosine}"
        return f"{few}; the worst: {worst}"
    logger.info("%d golden vectors agree; the worst cosine is %.6f", len(found), worst.cosine)
    return None


async def _found(encode: Encode, texts: Sequence[GoldenText]) -> AsyncIterator[Found]:
    numbered = enumerate(texts, 1)
    for some in grouped(numbered, lambda one: len(one[1].text), AT_ONCE, CHARACTERS_AT_ONCE):
        for one in await asyncio.gather(*(_one(encode, place, text) for place, text in some)):
            yield one


async def _one(encode: Encode, place: int, text: GoldenText) -> Found:
    request = EncodeRequest(
        inputs=[text.text], outputs=("dense",), prompting=Prompting(side=text.side)
    )
    try:
        [output] = (await _admitted(encode, request)).outputs
    except RequestFailed as error:
        return Found(place=place, text=text, problem=f"has no vector: {error}", error=error)
    assert output.dense is not None, "dense vectors were asked for"
    if len(output.dense) != len(text.vector):
        problem = f"has {len(output.dense)} dimensions, its golden vector {len(text.vector)}"
        return Found(place=place, text=text, problem=problem)
    return Found(place=place, text=text, cosine=cosine(tuple(output.dense.tolist()), text.vector))


async def _admitted(encode: Encode, request: EncodeRequest) -> Encoded:
    """The answer, also of a pod that has more to do than it may let wait. Raises RequestFailed."""
    for _ in range(TRIES):
        try:
            return await encode(request)
        except QueueFull as full:
            await asyncio.sleep(min(full.retry_after, MOST_SECONDS))
    return await encode(request)


def _raise_of_device(error: RequestFailed | None) -> None:
    if isinstance(error, OutOfMemory):
        raise StartFailed(Reason.OUT_OF_MEMORY, f"golden vectors: {error}") from error
    if isinstance(error, DeviceFailed) and not isinstance(error, NotFinite):
        raise StartFailed(Reason.DEVICE_FAILED, f"golden vectors: {error}") from error
