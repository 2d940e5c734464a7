"""The real application over a model that fails as it is told: what clients make of each failure."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from fakekit import FakeModel
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
from kubeembed_runtime.requests import Input

FAILURES = {
    "full": QueueFull(9, 8, 1.0),
    "memory": OutOfMemory("no memory"),
    "late": DeadlineExceeded("too late"),
    "long": InvalidInput("inputs", "9 tokens", "input_too_long"),
    "refused": AdapterRefused("has use_dora true"),
    "device": DeviceFailed("it failed"),
    "unforeseen": ValueError("nobody foresaw it"),
}


INFO = RuntimeInfo(
    name="bge", dimensions=3, max_tokens=8, dtype="float32", device="cpu", fingerprint="f"
)


@dataclass
class Failing(FakeModel):
    """Fails for a text, or a query, "WORD N" its first N times, in the way of the word."""

    info: RuntimeInfo = INFO
    failed: Counter[Input] = field(default_factory=Counter)

    def check(self, given: Input) -> None:
        word, times = str(given).split()[:2]
        if self.failed[given] < int(times):
            self.failed[given] += 1
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
