"""dev/cluster itself under test: its command line, its package, and an image that answers from a pod."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nodekit import ROOT, run

sys.path.insert(0, str(ROOT / "dev" / "cluster"))

Tool = Callable[..., str]
PROBE = "localhost/kubeembed/probe:1"


@pytest.fixture(scope="session")
def tool() -> Tool:
    """Run a command of dev/cluster; its answer on stdout. Raises AssertionError with all it said."""

    def call(*words: str, check: bool = True) -> str:
        return run(sys.executable, "dev/cluster", *words, check=check)

    return call


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A docker archive of the probe."""
    from devcluster.pause import archive

    folder = tmp_path_factory.mktemp("probe")
    subprocess.run(
        ["go", "build", "-trimpath", "-buildvcs=false", "-o", str(folder / "probe"), "."],
        cwd=Path(__file__).parent / "probe",
        env=os.environ | {"CGO_ENABLED": "0", "GOFLAGS": ""},
        check=True,
    )
    packed = folder / "probe.tar"
    packed.write_bytes(archive((folder / "probe").read_bytes(), image=PROBE, file="probe"))
    return packed


@pytest.fixture(scope="module")
def node(tool: Tool, probe: Path) -> Iterator[dict[str, Any]]:
    """A cluster of this module's own with all that can be asked for: what `status --json` says."""
    tool("up", "tests", "--audit", "--gpus", "4")
    tool("load", "tests", str(probe))
    yield json.loads(tool("status", "tests", "--json"))
    tool("down", "tests")
