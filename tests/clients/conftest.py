"""What the clients' tours share: the real runtime with the real MiniLM, on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from failingkit import served
from runtimekit import Process, document, launch, minilm_folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    return minilm_folder()


@pytest.fixture(scope="session")
def serving(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Ready, and named minilm; in the precision of what it is compared with, on whatever CPU."""
    exact = document(minilm, dtype="float32")
    process = launch(tmp_path_factory.mktemp("minilm"), exact)
    yield process.until_ready()
    process.end()


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[str]:
    """The URL of the real application with a model, bge, that fails as a text says; the API key is "key"."""
    with served(tmp_path) as url:
        yield url
