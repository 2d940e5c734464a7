"""The built images, run as a restricted Pod runs them: user 10001, root read-only, no network."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from nodekit import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

Run = Callable[..., subprocess.CompletedProcess[str]]

BERT = """
import torch
from transformers import BertConfig, BertModel
config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
print(BertModel(config).eval()(torch.ones(1, 5, dtype=torch.long)).last_hidden_state.shape)
"""


@pytest.fixture(scope="module")
def in_image() -> Run:
    """in_image("control", "python", ...): the ended process."""
    subprocess.run(
        [sys.executable, "dev/images", "build"], cwd=ROOT, check=True, capture_output=True
    )

    def run(target: str, *command: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "dev/images", "run", target, "--", *command]
        return subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)

    return run


@pytest.mark.parametrize(
    ("target", "script"),
    [
        ("control", "kubeembed-operator"),
        ("control", "kubeembed-gateway"),
        ("control", "kubeembed-weights"),
        ("runtime", "kubeembed-runtime"),
    ],
)
def test_script_starts(in_image: Run, target: str, script: str) -> None:
    done = in_image(target, script, "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: {script}" in done.stdout


def test_runs_as_its_user_on_a_read_only_root(in_image: Run) -> None:
    done = in_image("control", "sh", "-c", "id -u; touch /x; touch /tmp/x && echo scratch")
    assert done.stdout.split() == ["10001", "scratch"]
    assert "Read-only file system" in done.stderr


@pytest.mark.parametrize("module", ["torch", "transformers", "kubeembed_runtime"])
def test_control_image_is_without(in_image: Run, module: str) -> None:
    done = in_image("control", "python", "-c", f"import {module}")
    assert f"No module named '{module}'" in done.stderr


def test_runtime_image_runs_an_encoder_on_cpu(in_image: Run) -> None:
    done = in_image("runtime", "python", "-c", BERT)
    assert done.stdout.strip() == "torch.Size([1, 5, 32])", done.stderr


@pytest.mark.parametrize("target", ["control", "runtime"])
def test_bytecode_is_there_and_trusted(in_image: Run, target: str) -> None:
    """Bits 0 and 1 of a .pyc's flags: 01 is "hash, unchecked". Else each start compiles, or hashes, anew."""
    look = (
        "import importlib.util, kubeembed_api.document as d, pydantic.main as p\n"
        "for m in (d, p): print(open(importlib.util.cache_from_source(m.__file__), 'rb').read(8)[4])"
    )
    assert in_image(target, "python", "-c", look).stdout.split() == ["1", "1"]


@pytest.mark.parametrize("target", ["control", "runtime"])
def test_image_holds_nothing_of_the_machine_that_built_it(in_image: Run, target: str) -> None:
    names = "-name ca.crt -o -name pip.conf -o -name uv.toml -o -name '*.whl'"
    done = in_image(
        target, "sh", "-c", f"ls -A /mnt /var/cache/uv; find /etc /opt /run /src {names}"
    )
    assert [line for line in done.stdout.splitlines() if line and not line.endswith(":")] == []
