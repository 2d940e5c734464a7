"""The real pipeline and batcher over a tokenizer of letters and a device that only counts them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.adapters import Adapter
from kubeembed_runtime.batcher import Batcher
from kubeembed_runtime.errors import UnknownModel
from kubeembed_runtime.pipeline import Pipeline
from kubeembed_runtime.requests import Chunk, Input, Item, Output, Pair, Sparse, Token
from kubeembed_runtime.tokens import Framing, Tokens

Device = Callable[[Sequence[Item]], list[Output]]


def tokenize(inputs: Sequence[Input], framing: Framing) -> list[Tokens]:
    """One token a letter, the length of what was given. Chunks of so many letters, without overlap."""
    if framing.chunking is None:
        return [_tokens(given, framing) for given in inputs]
    size = framing.chunking.tokens
    return [
        _tokens(str(given)[at : at + size], framing)._replace(
            chunk=Chunk(index, at, min(at + size, len(given)))
        )
        for index, given in enumerate(inputs)
        for at in range(0, len(given), size)
    ]


def _tokens(given: Input, framing: Framing) -> Tokens:
    if isinstance(given, Pair):
        first = len(framing.prompt + given.first)
        return Tokens([first] * first + [7] * len(given.second), first)
    whole = len(given) + len(framing.prompt)
    return Tokens([whole] * whole, prompt=len(framing.prompt))


def run(items: Sequence[Item]) -> list[Output]:
    """Dense: of the length. Rows: one per token. Score: the tokens of the second text, or all."""
    return [_output(item) for item in items]


def without_numbers(length: int) -> Device:
    """As `run`, but for items of so many tokens, whose last value of each kind is none."""

    def device(items: Sequence[Item]) -> list[Output]:
        made = run(items)
        for item, output in zip(items, made, strict=True):
            if item.tokens == length:
                sparse = output.sparse and output.sparse.values
                for values in (
                    output.dense,
                    sparse,
                    output.multivector,
                    output.score,
                    output.tokens,
                ):
                    if values is not None:
                        values.flat[-1] = np.nan
        return made

    return device


def _output(item: Item) -> Output:
    kinds, count = item.outputs, item.tokens
    indices = np.arange(count, dtype=np.int32)
    values = np.ones(count, np.float32)
    return Output(
        dense=np.array([item.ids[0], 0], np.float32) if "dense" in kinds else None,
        sparse=Sparse(indices=indices, values=values) if "sparse" in kinds else None,
        multivector=np.eye(count, 9, dtype=np.float32) if "multivector" in kinds else None,
        score=np.array([count - (item.second or 0)], np.float32) if "score" in kinds else None,
        tokens=np.eye(count, 9, dtype=np.float32) if "tokens" in kinds else None,
    )


class Words:
    """A vocabulary of letters."""

    def tokens(self, texts: Sequence[str], *, special: bool, prompt: str = "") -> list[list[Token]]:
        whole = [prompt + text for text in texts]
        return [
            [Token(ord(c), c, False, place, place + 1) for place, c in enumerate(text)]
            for text in whole
        ]

    def decode(self, ids: Sequence[Sequence[int]], *, skip_special: bool) -> list[str]:
        return ["".join(map(chr, row)) for row in ids]


class Legal:
    """An adapter's value."""

    name, fingerprint, base, bytes = "legal", "beef", None, 1


class Registry:
    """`legal` is loaded, `slow` comes with `loading`."""

    names = ("legal", "slow")
    states = ()

    def __init__(self) -> None:
        self.loading: Future[Adapter] = Future()

    def find(self, name: str) -> "Adapter | Future[Adapter]":
        known = {"legal": Legal(), "slow": self.loading}
        if name not in known:
            raise UnknownModel(f"minilm:{name}", ("minilm", "minilm:legal", "minilm:slow"))
        return known[name]


class Ran:
    """A pipeline, and the items that its device was given."""

    def __init__(self, info: RuntimeInfo, *, device: Device = run, **options: Any) -> None:
        self.items: list[Item] = []
        self._device = device
        self.batcher = Batcher(self._run, budget=4, capacity=200)
        self.batcher.start()
        options = {"adapters": Registry(), "tokenize": tokenize, **options}
        self.pipeline = Pipeline(
            info=info,
            vocabulary=Words(),
            batcher=self.batcher,
            threads=1,
            **options,
        )

    def _run(self, items: Sequence[Item]) -> list[Output]:
        self.items += items
        return self._device(items)
