"""What the runtime's tests share: the real MiniLM, documents, a fake model, and the runtime as a process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import runtimekit
from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.requests import (
    UNPROMPTED,
    Encoded,
    EncodeRequest,
    Input,
    Output,
    Pair,
    Prompting,
    Scored,
    ScoreRequest,
    Sparse,
    Token,
    Vector,
)
from pipelinekit import Ran
from runtimekit import Process, launch


@pytest.fixture(scope="session")
def minilm() -> Path:
    return runtimekit.minilm_folder()


@pytest.fixture(scope="session")
def document() -> Callable[..., dict[str, Any]]:
    """(folder, **recipe) -> an EmbeddingModel document that serves the folder in place."""

    return runtimekit.document


@dataclass
class FakeModel:
    """A model whose vector for an input is its length, three times. `gate` holds its answers back.

    An input's tokens are its characters; "tokens", "multivector" and "sparse" have one entry for each. The
    score of a text, of a pair or of a document is its length over 10: raw; else the sigmoid of that.
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

    async def encode(self, request: EncodeRequest) -> Encoded:
        self.asked.append(request)
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        made = [self._output(request, given) for given in request.inputs]
        return Encoded(outputs=made, tokens=sum(_length(given) for given in request.inputs))

    def _output(self, request: EncodeRequest, given: Input) -> Output:
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
        if self.failure is not None:
            raise self.failure
        lengths = [len(document) for document in request.documents]
        return Scored(scores=self._scores(lengths, request.raw), tokens=sum(lengths))

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


@pytest.fixture
def fake_model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def ran(fake_model: Any) -> Iterator[Any]:
    """(**what differs in info, options of the pipeline) -> Ran"""
    made: list[Ran] = []

    def make(options: dict[str, Any] | None = None, **info: Any) -> Ran:
        made.append(Ran(fake_model.info.model_copy(update=info), **options or {}))
        return made[-1]

    yield make
    for one in made:
        one.pipeline.close()
        assert not one.pipeline.alive


@pytest.fixture
def lifecycle(fake_model: Any) -> Lifecycle:
    """Of the fake model, ready."""
    lifecycle = Lifecycle("minilm")
    lifecycle.ready(fake_model)
    return lifecycle


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("0")


@pytest.fixture
async def client(lifecycle: Lifecycle, metrics: Metrics) -> AsyncIterator[httpx.AsyncClient]:
    """Of the public application over `lifecycle`."""
    transport = httpx.ASGITransport(public_app(lifecycle, metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        yield client


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """(document, *flags, **environment) -> the process, not waited for. Ends with the test."""
    running: list[Process] = []

    def run(document: dict[str, Any], *flags: str, **environment: str) -> Process:
        process = launch(tmp_path, document, *flags, **environment)
        running.append(process)
        return process

    yield run
    for process in running:
        process.end()
