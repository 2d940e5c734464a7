"""What the lock files promise: a control image without torch, and the versions that the tests run with."""

import re
import tomllib

import pytest

from devimages.locks import CUDA_ONLY
from nodekit import ROOT

Pins = dict[str, str]


def pins(lock: str) -> Pins:
    """ "name ; marker" without its version -> version with its hashes."""
    text = (ROOT / "locks" / f"{lock}.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if re.match(r"[a-z0-9]", line)]
    found = {}
    for line in lines:
        name, _, rest = line.partition("==")
        version, *words = rest.split()
        marker = " ".join(word for word in words if not word.startswith("--hash"))
        found[f"{name} {marker}".strip()] = f"{version} {sorted(w for w in words if '--hash' in w)}"
    return found


def names(lock: str) -> set[str]:
    return {line.split()[0] for line in pins(lock)}


def required(*extras: str) -> set[str]:
    """Names that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    wanted += [each for extra in extras for each in project["optional-dependencies"][extra]]
    return {re.split(r"[<>=~! \[;]", each)[0].lower() for each in wanted}


def test_control_image_has_neither_torch_nor_what_comes_with_it() -> None:
    assert not {"numpy", "safetensors", "tokenizers", "torch", "transformers", "triton"} & names(
        "control"
    )
    assert not [name for name in names("control") if name.startswith(("cuda-", "nvidia-"))]


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("control", ("operator", "weights")),
        ("runtime", ("runtime", "tracing")),
        ("runtime-cpu", ("runtime", "tracing")),
    ],
)
def test_lock_holds_all_that_the_project_asks_for(lock: str, extras: tuple[str, ...]) -> None:
    assert required(*extras) - names(lock) == set()


@pytest.mark.parametrize("lock", ["control", "runtime", "runtime-cpu"])
def test_images_have_the_versions_that_the_tests_run_with(lock: str) -> None:
    tested = {(line.split()[0], pin) for line, pin in pins("dev").items()}
    assert {(line.split()[0], pin) for line, pin in pins(lock).items()} - tested == set()


def test_cpu_lock_is_the_whole_one_without_what_cuda_alone_needs() -> None:
    kept = {line: pin for line, pin in pins("runtime").items() if line.split()[0] not in CUDA_ONLY}
    assert pins("runtime-cpu") == kept
    assert set(CUDA_ONLY) <= names("runtime")


@pytest.mark.parametrize("lock", ["build", "control", "runtime", "runtime-cpu"])
def test_lock_names_no_index(lock: str) -> None:
    assert "://" not in (ROOT / "locks" / f"{lock}.txt").read_text()
