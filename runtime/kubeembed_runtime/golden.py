"""A loaded model is held to golden vectors before it is Ready: one that gives others never takes a request.
An adapter is before it has its name, and the earlier one of that name keeps it.

The base's file is read before anything heavy is loaded, so that a wrong one is known in a second; that of an
adapter, beside it, whenever this one is loaded for the first time.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.golden import GOLDEN_KEY, GoldenText, adapter_key, cosine, read_texts
from kubeembed_api.reasons import Reason
from kubeembed_runtime.adapters import Adapter
from kubeembed_runtime.errors import (
    AdapterDiffers,
    AdapterUnproven,
    DeviceFailed,
    NotFinite,
    OutOfMemory,
    QueueFull,
    RequestFailed,
    StartFailed,
)
from kubeembed_runtime.pipeline import Pipeline
from kubeembed_runtime.protocols import Model
from kubeembed_runtime.requests import Encoded, EncodeRequest, Prompting

logger = logging.getLogger(__name__)

#: Texts that are on their way at a time: the batcher makes batches of them, and its queue never fills.
AT_ONCE = 64

#: How often a text is asked for again of a pod that is full, and seconds between two times at most.
TRIES, MOST_SECONDS = 20, 1.0

WRITES = "`kubeembed golden` writes them"

Encode = Callable[[EncodeRequest], Awaitable[Encoded]]

#: Characters of a text that a message shows.
SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """The texts of a file, and how near their vectors have to be. Those of adapters lie beside `path`."""

    path: Path
    texts: tuple[GoldenText, ...]
    min_cosine: float


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
        said = self.problem or f"has cosine {self.cosine:.4f}"
        return f"line {self.place}{side}, {shown + cut!r}, {said}"


def read(path: Path, min_cosine: float) -> Golden:
    """Raises StartFailed for a file that is not there, holds nothing, or has a line that cannot be read."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        _unreadable(f"{path} is not there: the ConfigMap, or its key {GOLDEN_KEY}, does not exist")
    except (OSError, UnicodeDecodeError) as error:
        _unreadable(f"{path}: {error}")
    if not text.strip():
        _unreadable(f"{path} holds no texts")
    try:
        return Golden(path=path, texts=read_texts(text, str(path)), min_cosine=min_cosine)
    except InvalidSpec as error:
        _unreadable(str(error))


async def check(model: Model, golden: Golden) -> None:
    """Raises StartFailed: GoldenMismatch that shows the worst text, or what the device failed of."""
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


def prover(
    golden: Golden, loop: asyncio.AbstractEventLoop
) -> Callable[[Pipeline], Callable[[Adapter], None]]:
    """What holds adapters to their golden vectors, in the thread that loads them; the texts are embedded
    beside the requests that `loop` answers."""

    def of(pipeline: Pipeline) -> Callable[[Adapter], None]:
        def prove(adapter: Adapter) -> None:
            texts = _adapter_texts(golden, adapter.name)
            if texts:
                checking = _check_adapter(pipeline, adapter, texts, golden.min_cosine)
                asyncio.run_coroutine_threadsafe(checking, loop).result()

        return prove

    return of


async def _check_adapter(
    pipeline: Pipeline, adapter: Adapter, texts: Sequence[GoldenText], min_cosine: float
) -> None:
    """Raises AdapterDiffers."""
    found = [one async for one in _found(lambda r: pipeline.encode_with(r, adapter), texts)]
    problem = _problem(found, min_cosine)
    if problem is not None:
        raise AdapterDiffers(f"{problem} (fingerprint {adapter.fingerprint})")


def _adapter_texts(golden: Golden, name: str) -> tuple[GoldenText, ...]:
    """Of the file beside the base's, as it is now; none where there is none. Raises AdapterUnproven."""
    path = golden.path.with_name(adapter_key(name))
    try:
        return read_texts(path.read_text(), str(path))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, InvalidSpec) as error:
        said = str(error) if isinstance(error, InvalidSpec) else f"{path}: {error}"
        raise AdapterUnproven(f"golden vectors: {said}; {WRITES}") from error


def _problem(found: Sequence[Found], min_cosine: float) -> str | None:
    worst = min(found, key=lambda one: one.cosine)
    amiss = sum(one.cosine < min_cosine for one in found)
    if amiss:
        few = f"{amiss} of {len(found)} golden texts are below minCosine {min_cosine:g}"
        return f"{few}; the worst: {worst}"
    logger.info("%d golden vectors agree; the worst cosine is %.6f", len(found), worst.cosine)
    return None


async def _found(encode: Encode, texts: Sequence[GoldenText]) -> AsyncIterator[Found]:
    for start in range(0, len(texts), AT_ONCE):
        some = enumerate(texts[start : start + AT_ONCE], start + 1)
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


def _unreadable(message: str) -> NoReturn:
    raise StartFailed(Reason.GOLDEN_UNREADABLE, f"golden vectors: {message}; {WRITES}")
