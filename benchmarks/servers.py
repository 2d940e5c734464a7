"""The servers that are compared: how each is started, paused while another is measured, and what it costs.

A paused server (SIGSTOP) takes no share of the cores, so all can be up at once and take turns.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from environments import CACHE, PEERS, QUIET, model, packaged_model, python

START_SECONDS = 300
TICKS = os.sysconf("SC_CLK_TCK")

OURS = "KubeEmbed"
ST = "sentence-transformers"


@dataclass(frozen=True, kw_only=True)
class Server:
    """How a server is started. command: without the interpreter's own flags."""

    name: str
    port: int
    command: tuple[str, ...]
    admin_port: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Start:
    """From process start to the first vector. resident: bytes, right after it."""

    wall_seconds: float
    cpu_seconds: float
    resident: int


def free_port() -> int:
    """One that nobody listens on now. A fixed one may be another run's, whose server would answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ours(dtype: str = "float32") -> Server:
    document = CACHE / f"minilm-{dtype}.yaml"
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text(json.dumps(as_document(packaged_model(), dtype)))
    port, admin_port = free_port(), free_port()
    ports = ("--port", str(port), "--admin-port", str(admin_port))
    module = (sys.executable, "-m", "kubeembed_runtime")
    command = (*module, "serve", str(document), *ports)
    return Server(name=OURS, port=port, command=command, admin_port=admin_port)


def as_document(folder: Path, dtype: str) -> dict[str, object]:
    """The EmbeddingModel that serves a local folder."""
    return {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": "minilm"},
        "spec": {"model": {"source": f"file://{folder}"}, "recipe": {"dtype": dtype}},
    }


def sentence_transformers() -> Server:
    port = free_port()
    interpreter = str(python("sentence-transformers"))
    app = ("-m", "uvicorn", "--app-dir", str(PEERS), "--port", str(port))
    quiet = ("--no-access-log", "st_app:app")
    environment = {"MODEL": str(packaged_model())}
    command = (interpreter, *app, *quiet)
    return Server(name=ST, port=port, command=command, environment=environment)


def infinity(engine: str) -> Server:
    """engine: torch (with BetterTransformer) or optimum (ONNX Runtime, optimised graph)."""
    port = free_port()
    program = str(python("infinity").parent / "infinity_emb")
    command = (
        *(program, "v2", "--model-id", str(model()), "--served-model-name", "minilm"),
        *("--engine", engine, "--device", "cpu", "--dtype", "float32", "--pooling-method", "mean"),
        *("--no-onnx-disable-optimize", "--host", "127.0.0.1", "--port", str(port)),
        *("--url-prefix", "/v1", "--log-level", "error"),
    )
    label = {"torch": "Infinity torch", "optimum": "Infinity ONNX"}[engine]
    return Server(name=label, port=port, command=command)


def every() -> list[Server]:
    """Ours first."""
    return [
        ours(),
        sentence_transformers(),
        infinity("torch"),
        infinity("optimum"),
    ]


class Running:
    """A process that is up."""

    def __init__(self, server: Server, process: "subprocess.Popen[bytes]", start: Start) -> None:
        self.name, self.port = server.name, server.port
        self.start = start
        self._process = process

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    @property
    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid)

    @property
    def resident(self) -> int:
        return resident(self._process.pid)


@contextmanager
def running(server: Server) -> Iterator[Running]:
    """Up, and has answered once. Ended with the block."""
    log = (CACHE / f"{server.name.replace(' ', '-')}.log").open("wb")
    begun = time.monotonic()
    environment = {**os.environ, **QUIET, **server.environment}
    process = subprocess.Popen(server.command, env=environment, stdout=log, stderr=log)
    try:
        _until_first_vector(server, process)
        start = Start(
            wall_seconds=time.monotonic() - begun,
            cpu_seconds=cpu_seconds(process.pid),
            resident=resident(process.pid),
        )
        yield Running(server, process, start)
    finally:
        process.kill()
        process.wait()
        log.close()


def _until_first_vector(server: Server, process: "subprocess.Popen[bytes]") -> None:
    body = json.dumps({"model": "minilm", "input": ["hello"]}).encode()
    url = f"http://127.0.0.1:{server.port}/v1/embeddings"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(request).close()
            return
        except OSError:  # nobody listens yet, or 503 while it loads
            time.sleep(0.02)
    raise TimeoutError(f"{server.name} did not start; its log is in {CACHE}")


def cpu_seconds(pid: int) -> float:
    """Of all its threads since it was started, user and system."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICKS


def resident(pid: int) -> int:
    """Bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024


class Worker:
    """A process that answers a line with a line: the bare ONNX Runtime session, the matrix product."""

    def __init__(self, *command: str) -> None:
        self._command = " ".join(command)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()

    def ask(self, line: str = "") -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"{self._command} ended")
        return line

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def bare_session(threads: int) -> Worker:
    script = str(PEERS / "onnx_session.py")
    return Worker(str(python("tools")), script, str(model()), str(threads))


def matrix_product(threads: int) -> Worker:
    return Worker(sys.executable, str(PEERS / "gemm.py"), str(threads))
