"""A loaded model is held to golden vectors before it is Ready: one that gives others never takes a request.

The file is read before anything heavy is loaded, so that a wrong one is known in a second.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.golden import GOLDEN_KEY, GoldenText, cosine, read_texts
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import (
    DeviceFailed,
    NotFinite,
    OutOfMemory,
    RequestFailed,
    StartFailed,
)
from kubeembed_runtime.protocols import Model
from kubeembed_runtime.requests import EncodeRequest, Prompting

logger = logging.getLogger(__name__)

#: Texts that are on their way at a time: the batcher makes batches of them, and its queue never fills.
AT_ONCE = 64

#: Characters of a text that a message shows.
SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """The texts of a file, and how near their vectors have to be."""

    texts: tuple[GoldenText, ...]
    min_cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of a text. problem: why it has no cosine."""

    place: int
    text: GoldenText
    cosine: float = -1.0
    problem: str = ""

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
        return Golden(texts=read_texts(text, str(path)), min_cosine=min_cosine)
    except InvalidSpec as error:
        _unreadable(str(error))


async def check(model: Model, golden: Golden) -> None:
    """Raises StartFailed: GoldenMismatch that shows the worst text, or what the device failed of."""
    if "dense" not in model.info.outputs:
        gives = ", ".join(model.info.outputs)
        raise StartFailed(
            Reason.GOLDEN_MISMATCH, f"golden vectors are dense, and the model gives {gives}"
        )
    found = [one async for one in _found(model, golden.texts)]
    worst = min(found, key=lambda one: one.cosine)
    amiss = sum(one.cosine < golden.min_cosine for one in found)
    if amiss:
        text = (
            f"{amiss} of {len(found)} golden texts are below minCosine {golden.min_cosine:g}; the worst:"
            f" {worst}. This pod (fingerprint {model.info.fingerprint}) takes no requests"
        )
        raise StartFailed(Reason.GOLDEN_MISMATCH, text)
    logger.info("%d golden vectors agree; the worst cosine is %.6f", len(found), worst.cosine)


async def _found(model: Model, texts: Sequence[GoldenText]) -> AsyncIterator[Found]:
    for start in range(0, len(texts), AT_ONCE):
        some = enumerate(texts[start : start + AT_ONCE], start + 1)
        for one in await asyncio.gather(*(_one(model, place, text) for place, text in some)):
            yield one


async def _one(model: Model, place: int, text: GoldenText) -> Found:
    request = EncodeRequest(
        inputs=[text.text], outputs=("dense",), prompting=Prompting(side=text.side)
    )
    try:
        [output] = (await model.encode(request)).outputs
    except OutOfMemory as error:
        raise StartFailed(Reason.OUT_OF_MEMORY, f"golden vectors: {error}") from error
    except RequestFailed as error:
        if isinstance(error, DeviceFailed) and not isinstance(error, NotFinite):
            raise StartFailed(Reason.DEVICE_FAILED, f"golden vectors: {error}") from error
        return Found(place=place, text=text, problem=f"has no vector: {error}")
    assert output.dense is not None, "dense vectors were asked for"
    if len(output.dense) != len(text.vector):
        problem = f"has {len(output.dense)} dimensions, its golden vector {len(text.vector)}"
        return Found(place=place, text=text, problem=problem)
    return Found(place=place, text=text, cosine=cosine(tuple(output.dense.tolist()), text.vector))


def _unreadable(message: str) -> NoReturn:
    raise StartFailed(
        Reason.GOLDEN_UNREADABLE, f"golden vectors: {message}; `kubeembed golden` writes them"
    )
