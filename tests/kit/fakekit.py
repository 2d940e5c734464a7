"""A model that answers at once and is told how: what the contracts are tested over."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.requests import (
    UNPROMPTED,
    Chunk,
    Encoded,
    EncodeRequest,
    Input,
    Output,
    Pair,
    Prompting,
    Scored,
    ScoreRequest,
    Sparse,
    Timing,
    Token,
    Vector,
)
from kubeembed_runtime.usage import Usage

NO_TIME = Timing()
UNUSED = Usage(busy_seconds=0.0, tokens=0, queued_tokens=0)


@dataclass
class FakeModel:
    """A model whose vector for an input is its length, three times. `gate` holds its answers back.

    An input's tokens are its characters; "tokens", "multivector" and "sparse" have one entry for each. The
    score of a text, of a pair or of a document is its length over 10: raw; else the sigmoid of that. What an
    adapter makes has the fingerprint "beef". Chunks do not overlap, and their mean is that of the whole text.
    """

    info: RuntimeInfo = field(
        default_factory=lambda: RuntimeInfo(
            name="minilm",
            dimensions=3,
            max_tokens=256,
            pooling="mean",
            normalize=True,
            dtype="float32",
            device="cpu",
            fingerprint="f00d",
        )
    )
    adapters: tuple[str, ...] = ()
    alive: bool = True
    failure: Exception | None = None
    gate: asyncio.Event | None = None
    asked: list[EncodeRequest] = field(default_factory=list)
    scored: list[ScoreRequest] = field(default_factory=list)
    cancelled: int = 0
    timing: Timing = NO_TIME
    usage: Usage = UNUSED

    async def encode(self, request: EncodeRequest) -> Encoded:
        self.asked.append(request)
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.check(request.inputs[0])
        chunks = _chunks(request) if request.chunking and not request.chunking.pooled else None
        outputs = (
            [self.output(request, given) for given in request.inputs]
            if chunks is None
            else [self.output(request, "x" * (chunk.end - chunk.start)) for chunk in chunks]
        )
        return Encoded(
            outputs=outputs,
            tokens=sum(_length(given) for given in request.inputs),
            chunks=chunks,
            fingerprint="beef" if request.adapter else None,
            timing=self.timing,
        )

    def check(self, given: Input) -> None:
        """Raises what is to fail. given: the first input, or the query."""
        if self.failure is not None:
            raise self.failure

    def output(self, request: EncodeRequest, given: Input) -> Output:
        kinds, length = request.outputs or self.info.outputs[:1], _length(given)
        rows = np.full((length, 2), 0.5, np.float32)
        places = np.arange(length, dtype=np.int32)
        return Output(
            dense=np.full(request.dimensions or 3, length, np.float32)
            if "dense" in kinds
            else None,
            sparse=Sparse(indices=places, values=rows[:, 0]) if "sparse" in kinds else None,
            multivector=rows if "multivector" in kinds else None,
            tokens=rows if "tokens" in kinds else None,
            score=self._scores([length], request.raw) if "score" in kinds else None,
        )

    def _scores(self, lengths: Sequence[int], raw: bool) -> Vector:
        scores = np.array(lengths, np.float32) / 10
        return scores if raw else 1 / (1 + np.exp(-scores))

    async def score(self, request: ScoreRequest) -> Scored:
        self.scored.append(request)
        self.check(request.queries[0])
        lengths = [len(document) for document in request.documents]
        return Scored(
            scores=self._scores(lengths, request.raw),
            tokens=sum(lengths),
            fingerprint="beef" if request.adapter else None,
            timing=self.timing,
        )

    async def tokenize(
        self, texts: Sequence[str], *, special: bool = True, prompting: Prompting = UNPROMPTED
    ) -> list[list[Token]]:
        if self.failure is not None:
            raise self.failure
        ends = [Token(0, "[CLS]", True, None, None)] if special else []
        return [
            [*ends, *(Token(ord(c), c, False, place, place + 1) for place, c in enumerate(text))]
            for text in texts
        ]

    async def decode(self, ids: Sequence[Sequence[int]], *, skip_special: bool = True) -> list[str]:
        if self.failure is not None:
            raise self.failure
        return ["".join(map(chr, row)) for row in ids]


def _length(given: Input) -> int:
    return len(given.first) + len(given.second) if isinstance(given, Pair) else len(given)


def _chunks(request: EncodeRequest) -> list[Chunk]:
    assert request.chunking is not None
    size = request.chunking.tokens
    return [
        Chunk(place, start, min(start + size, _length(given)))
        for place, given in enumerate(request.inputs)
        for start in range(0, _length(given), size)
    ]
