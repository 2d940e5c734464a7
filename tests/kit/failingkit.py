"""The real application over a model that fails as it is told: what clients make of each failure."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.edge import Edge, Keys
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.errors import (
    AdapterRefused,
    DeadlineExceeded,
    DeviceFailed,
    InvalidInput,
    OutOfMemory,
    QueueFull,
)
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.requests import Encoded, EncodeRequest, Output, Scored, ScoreRequest

FAILURES = {
    "full": QueueFull(9, 8, 1.0),
    "memory": OutOfMemory("no memory"),
    "late": DeadlineExceeded("too late"),
    "long": InvalidInput("inputs", "9 tokens", "input_too_long"),
    "refused": AdapterRefused("has use_dora true"),
    "device": DeviceFailed("it failed"),
    "unforeseen": ValueError("nobody foresaw it"),
}


@dataclass
class Failing:
    """Fails for a text, or a query, "WORD N" its first N times, in the way of the word."""

    info: RuntimeInfo = field(
        default_factory=lambda: RuntimeInfo(
            name="bge", dimensions=3, max_tokens=8, dtype="float32", device="cpu", fingerprint="f"
        )
    )
    adapters: tuple[str, ...] = ()
    alive: bool = True
    failed: Counter[str] = field(default_factory=Counter)

    async def encode(self, request: EncodeRequest) -> Encoded:
        (text,) = request.inputs
        self._stumble(str(text))
        return Encoded(outputs=[Output(dense=np.ones(3, np.float32))], tokens=1)

    async def score(self, request: ScoreRequest) -> Scored:
        self._stumble(request.query)
        return Scored(scores=np.ones(len(request.documents), np.float32), tokens=1)

    def _stumble(self, text: str) -> None:
        word, times = text.split()[:2]
        if self.failed[text] < int(times):
            self.failed[text] += 1
            raise FAILURES[word]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Its URL. folder: for the file of its one API key, "key"."""
    (folder / "keys").write_text("key\n")
    lifecycle = Lifecycle("bge")
    model: Any = Failing()
    lifecycle.ready(model)
    app = public_app(lifecycle, Metrics("0"), Edge(keys=Keys(folder / "keys")))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
