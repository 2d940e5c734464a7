"""Virtual environments of unmodified clients, in the user's cache folder, named by their locks' content."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

CLIENTS = Path(__file__).parents[1] / "clients"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "kubeembed", "clients")

#: What the clients see of the environment: nothing is fetched, nothing is reported home.
QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "PYTHONWARNINGS": "default",
}

#: Locks of clients that run on this Python and declare only newer ones: pip can be told to overlook that.
DECLARING_NEWER = ("sie",)


def python(name: str) -> Path:
    """The interpreter of the environment of tests/clients/locks/NAME.txt, made if it is not there."""
    lock = CLIENTS / "locks" / f"{name}.txt"
    mark = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"{name}-{mark}"
    interpreter = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        seed = ["--seed"] if name in DECLARING_NEWER else []
        uv = str(Path(sys.executable).parent / "uv")
        _run(uv, "venv", "--quiet", "--clear", *seed, "--python", sys.executable, str(folder))
        if name in DECLARING_NEWER:
            install = (str(interpreter), "-m", "pip", "install", "--quiet", "--no-deps")
            _run(*install, "--require-hashes", "--ignore-requires-python", "-r", str(lock))
        else:
            sync = (uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode")
            _run(*sync, "--python", str(interpreter), str(lock))
        (folder / ".ready").touch()
    return interpreter


def tour(name: str, script: str, *arguments: str, seconds: float = 120) -> str:
    """What tests/clients/tours/SCRIPT.py prints in that environment; fails with all that it said."""
    return printed(name, CLIENTS / "tours" / f"{script}.py", *arguments, seconds=seconds)


def printed(name: str, script: Path, *arguments: str, seconds: float = 120, **more: str) -> str:
    """What a script prints in that environment, which `more` adds to; fails with all that it said."""
    done = subprocess.run(
        [str(python(name)), str(script), *arguments],
        env=os.environ | QUIET | more,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, f"{script.stem} with {name}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
