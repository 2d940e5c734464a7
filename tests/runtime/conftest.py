"""What the runtime's tests share: the real MiniLM, documents, a fake model, and the runtime as a process."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

import runtimekit
from fakekit import FakeModel
from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.lifecycle import Lifecycle
from pipelinekit import Ran
from runtimekit import Process, launch


@pytest.fixture(scope="session")
def minilm() -> Path:
    return runtimekit.minilm_folder()


@pytest.fixture(scope="session")
def document() -> Callable[..., dict[str, Any]]:
    """(folder, **recipe) -> an EmbeddingModel document that serves the folder in place."""

    return runtimekit.document


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than the products of small models."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


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
