"""What a second batch in flight gains on a GPU: the encoder behind its batcher, one stream and two in turns.

    python benchmarks/flight.py

Weights are random, at the shapes of docs/h100.md, in bfloat16. Clients ask, wait for the answer, ask again,
all in the batcher's own threads: no tokenizer, no HTTP. The median of the rounds counts.
"""

import argparse
import random
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from gpu import GPU, VOCABULARY, body
from h100 import MODELS, Model

from kubeembed_runtime.batcher import Batcher
from kubeembed_runtime.errors import DeviceFailed
from kubeembed_runtime.loading import BESIDE_TOKENS, BUDGET_TOKENS
from kubeembed_runtime.model.devices import sample
from kubeembed_runtime.model.encoder import Encoder
from kubeembed_runtime.model.heads.dense import Dense
from kubeembed_runtime.model.streams import STREAMS, Streams, preparing
from kubeembed_runtime.requests import Item

ROUNDS, WARM_SECONDS, SECONDS = 3, 0.2, 0.6

#: (clients, texts of a request, tokens of a text; None: as texts are).
LOADS = {
    "queries": (64, 1, 12),
    "mixed lengths": (64, 8, None),
    "passages": (32, 32, 128),
    "long texts": (64, 4, 512),
}


class Clients:
    """Each asks for its own items again and again until told to end."""

    def __init__(self, batcher: Batcher, requests: Sequence[Sequence[Item]]) -> None:
        self._batcher, self.tokens, self.seconds = batcher, 0, list[float]()
        self._ending = False
        for request in requests:
            self._ask(request)

    def _ask(self, request: Sequence[Item]) -> None:
        begun = time.perf_counter()

        def answered(future: "Future[Any]") -> None:
            future.result()
            self.seconds.append(time.perf_counter() - begun)
            self.tokens += sum(item.tokens for item in request)
            if not self._ending:
                with suppress(DeviceFailed):  # the batcher was closed just now
                    self._ask(request)

        self._batcher.submit(request).add_done_callback(answered)

    def measured(self) -> tuple[float, float]:
        """(tokens a second, the median of a request's seconds)"""
        time.sleep(WARM_SECONDS)
        self.tokens = 0
        self.seconds.clear()
        begun = time.perf_counter()
        time.sleep(SECONDS)
        rate = self.tokens / (time.perf_counter() - begun)
        self._ending = True
        return rate, median(self.seconds)


def requests(load: str) -> list[list[Item]]:
    clients, texts, length = LOADS[load]
    draw = random.Random(0)

    def tokens() -> int:
        return length or min(256, max(4, int(draw.lognormvariate(3.5, 0.8))))

    return [sample(VOCABULARY, [tokens() for _ in range(texts)]) for _ in range(clients)]


def encoder(model: Model) -> Encoder:
    recipe: Any = SimpleNamespace(
        max_tokens=SimpleNamespace(value=model.limit), outputs=SimpleNamespace(value=("dense",))
    )
    head = Dense(pooling=["mean"], normalize=True, dimensions=model.hidden)
    return Encoder(body(model), {"dense": head}, recipe=recipe, dtype="bfloat16", device=GPU)


def served(encoder: Encoder, streams: Streams, count: int, load: str) -> tuple[float, float]:
    batcher = Batcher(
        encoder,
        budget=BUDGET_TOKENS["cuda"],
        capacity=10**9,
        streams=count,
        beside=BESIDE_TOKENS["cuda"],
        prepare=streams.prepare,
    )
    batcher.start()
    found = Clients(batcher, requests(load)).measured()
    batcher.close()
    return found


def both(encoder: Encoder) -> Streams:
    """Two, warmed up, whether or not they would be chosen."""
    prepare = preparing(GPU, 1, STREAMS)
    for stream in reversed(range(STREAMS)):
        prepare(stream, True)
        encoder.warm_up(BUDGET_TOKENS["cuda"])
    return Streams(count=STREAMS, prepare=prepare)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--models", nargs="*", default=[model.name for model in MODELS])
    options = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    print("| model | load | one, tokens/s | ms | two, tokens/s | ms | gain |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for model in (each for each in MODELS if each.name in options.models):
        made = encoder(model)
        streams = both(made)
        for load in LOADS:
            rounds = [
                [served(made, streams, n, load) for n in (1, 2)] for _ in range(options.rounds)
            ]
            one, two = (
                [median(part) for part in zip(*each, strict=True)]
                for each in zip(*rounds, strict=True)
            )
            print(
                f"| {model.name} | {load} | {one[0] / 1e6:.2f} M | {1e3 * one[1]:.1f} "
                f"| {two[0] / 1e6:.2f} M | {1e3 * two[1]:.1f} | {two[0] / one[0]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
