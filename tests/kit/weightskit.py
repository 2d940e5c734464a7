"""A small model for the test hub, and the fetch as a process, to be killed."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_api.names import API_VERSION, KIND
from kubeembed_weights import FetchError, Meter, fetch

REPOSITORY = "acme/mini"
SOURCE = f"hf://{REPOSITORY}"
WEIGHTS = "model.safetensors"
WEIGHTS_BYTES = 3_000_000

#: What of the folder below is fetched, with its size.
WANTED = {
    "1_Pooling/config.json": 20,
    "config.json": 300,
    "model.safetensors": WEIGHTS_BYTES,
    "modules.json": 200,
    "tokenizer.json": 70_000,
    "vocab.txt": 5_000,
}
TOTAL = sum(WANTED.values())


#: Of a fetch, whatever the size of the weights.
MEMORY_LIMIT_KIB = 100 << 10

#: Runs its arguments and prints their peak memory in KiB. A process of its own, since a child's peak starts
#: with the size of whoever started it, and the tests are larger than what is measured.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def write_model(folder: Path, seed: int = 0) -> Path:
    """Files as a repository has them, the wanted ones and others; their content is noise."""
    noise = random.Random(seed)
    others = ("README.md", ".gitattributes", "pytorch_model.bin", "onnx/model.onnx", "x/y/z.json")
    for path, size in (WANTED | dict.fromkeys(others, 1000)).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(noise.randbytes(size))
    return folder


def document(
    source: str = SOURCE,
    revision: str | None = None,
    status: dict[str, Any] | None = None,
    **fields: str,
) -> dict[str, Any]:
    """`fields` are further ones of spec.model."""
    model = {"source": source, **fields} | ({} if revision is None else {"revision": revision})
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "mini"},
        "spec": {"model": model},
        "status": status or {},
    }


def model(source: str = SOURCE, revision: str | None = None, **fields: str) -> EmbeddingModel:
    return parse(document(source, revision, **fields))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below but our manifest."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    inside = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    inside.pop(".kubeembed.json", None)
    return inside


def eventually(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Waits for another process to come so far; fails the test if it does not."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def on_disk(root: Path) -> int:
    """Bytes of the copies that are being put together."""
    try:
        return sum(p.stat().st_size for p in root.glob(".partial/**/*") if p.is_file())
    except FileNotFoundError:  # a part got its name between the two
        return 0


def refused(
    root: Path,
    environ: dict[str, str],
    document: EmbeddingModel | None = None,
    progress: Meter | None = None,
) -> FetchError:
    with pytest.raises(FetchError) as failure:
        fetch(document or model(), root, environ=environ, progress=progress)
    return failure.value


def weights_sent(hub: Any) -> list[tuple[str | None, int]]:
    """(Range, bytes sent) of every request for the large file's content."""
    return [(entry["range"], entry["sent"]) for entry in hub.log.entries(f"/_cdn/*{WEIGHTS}")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run of kubeembed-weights that is over."""

    code: int
    report: dict[str, Any]
    log: str


class Command:
    """Runs kubeembed-weights as a process of its own."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self.running: list[subprocess.Popen[str]] = []

    def start(
        self,
        command: str,
        *arguments: str | Path,
        told: object = None,
        before: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        """`told` is the document, by default that of the mini model; `before` runs the command."""
        path = self._folder / "model.yaml"
        path.write_text(json.dumps(document() if told is None else told))
        return self.run(command, path, *arguments, before=before)

    def run(self, *words: str | Path, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        line = [*before, sys.executable, "-m", "kubeembed_weights", *words]
        process = subprocess.Popen(
            [str(word) for word in line],
            env=os.environ | self._environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.running.append(process)
        return process

    def fetch(
        self, root: Path, *arguments: str, told: object = None, before: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        words = ("--root", root, "--admin-port", "0", *arguments)
        return self.start("fetch", *words, told=told, before=before)

    def end(self, process: subprocess.Popen[str]) -> Ended:
        out, log = process.communicate(timeout=60)
        return Ended(code=process.returncode, report=json.loads(out or "{}"), log=log)
