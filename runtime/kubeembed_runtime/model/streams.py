"""How many batches a device runs at once, and what each of them has of it.

On a CPU, two batches with half of the threads each need no waiting for each other at every product's end, and
the interpreter's part of one goes on beside the other's products. A batch that is alone has all threads. On a
GPU the host makes one batch while the device computes the other, where that is measured to be faster.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch

from kubeembed_runtime.model.bert import Bert
from kubeembed_runtime.model.devices import sample
from kubeembed_runtime.model.encoder import Encoder

logger = logging.getLogger(__name__)

#: On a GPU, and on a CPU of two threads or more. More were not tried.
STREAMS = 2

#: A GPU has to be so many times as fast with two: a small model's host is what all wait for, and its threads
#: take turns at the interpreter.
GAIN = 1.05

#: The batches that show it: tokens of each sequence, how many of them are timed, how often.
LENGTH, BATCHES, ROUNDS = 128, 4, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """How many, and what a device thread calls before each batch: (its stream, is the batch alone?)."""

    count: int
    prepare: Callable[[int, bool], None]


def warm(encoder: Encoder, threads: int, budget: int) -> Streams:
    """Those of the encoder, warmed up. This thread is left on the first, as other threads begin."""
    count = streams(encoder, threads)
    prepare = preparing(encoder.device, threads, count)
    for stream in reversed(range(count)):
        prepare(stream, True)
        encoder.warm_up(budget)
    if encoder.device.type == "cuda" and count > 1:
        found = gain(encoder, prepare, budget)
        count = count if found >= GAIN else 1
        logger.info("%d batches in flight: two are %.2f times as fast as one", count, found)
    return Streams(count=count, prepare=prepare)


def streams(encoder: Encoder, threads: int) -> int:
    """At most: one where the body keeps something of the running batch, as transformers' models do."""
    if not isinstance(encoder.body, Bert):
        return 1
    return STREAMS if encoder.device.type == "cuda" else min(STREAMS, threads)


def gain(encoder: Encoder, prepare: Callable[[int, bool], None], budget: int) -> float:
    """How many times as fast full batches are on two streams as on one, the best of a few each."""
    length = min(LENGTH, encoder.recipe.max_tokens.value)
    outputs = encoder.recipe.outputs.value[:1]
    made = sample(encoder.body.words.shape[0], [length] * (budget // length))
    items = [replace(item, outputs=outputs) for item in made]

    def seconds(count: int) -> float:
        def run(stream: int) -> None:
            prepare(stream, False)
            for _ in range(BATCHES // count):
                encoder(items)

        begun = time.perf_counter()
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(run, range(count)))
        return time.perf_counter() - begun

    pairs = [(seconds(1), seconds(STREAMS)) for _ in range(ROUNDS)]
    return min(one for one, _ in pairs) / min(two for _, two in pairs)


def preparing(device: torch.device, threads: int, streams: int) -> Callable[[int, bool], None]:
    """As Streams has it: what it sets holds for the thread that calls it."""
    return _streaming(device, streams) if device.type == "cuda" else _sharing(threads, streams)


def _sharing(threads: int, streams: int) -> Callable[[int, bool], None]:
    def prepare(stream: int, alone: bool) -> None:
        share = (threads + streams - 1 - stream) // streams
        torch.set_num_threads(threads if alone else share)

    return prepare


def _streaming(device: torch.device, streams: int) -> Callable[[int, bool], None]:
    """The first is the one on which everything was loaded."""
    others = [torch.cuda.Stream(device) for _ in range(streams - 1)]  # type: ignore[no-untyped-call]
    made = (torch.cuda.default_stream(device), *others)
    return lambda stream, alone: torch.cuda.set_stream(made[stream])
