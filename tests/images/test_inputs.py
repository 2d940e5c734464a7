"""An image's tag changes with what goes into the image, and with nothing else."""

import re
import shutil
from pathlib import Path

import pytest

from devimages.inputs import (
    CODE,
    PACKAGES,
    RECIPE,
    SHARED_CODE,
    TARGETS,
    Options,
    packages_hash,
    tag,
)
from nodekit import ROOT

DEFAULT = Options()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of all that images are made of."""
    every = [*RECIPE, *SHARED_CODE, *(p for t in TARGETS for p in (*PACKAGES[t], *CODE[t]))]
    for name in dict.fromkeys(every):
        source, copy = ROOT / name, tmp_path / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy)
        else:
            shutil.copy(source, copy)
    return tmp_path


def tags(checkout: Path, options: Options = DEFAULT) -> dict[str, str]:
    return {target: tag(target, options, checkout) for target in TARGETS}


def changed(checkout: Path, file: str) -> set[str]:
    """The targets whose tag a change of this file changes."""
    before = tags(checkout)
    path = checkout / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + "\n# changed\n")
    after = tags(checkout)
    return {target for target in TARGETS if before[target] != after[target]}


def test_same_files_have_the_same_tags_anywhere(checkout: Path) -> None:
    assert tags(checkout) == tags(ROOT)


@pytest.mark.parametrize(
    ("file", "targets"),
    [
        ("Dockerfile", {"control", "runtime"}),
        ("locks/control.txt", {"control"}),
        ("locks/runtime-cpu.txt", {"runtime"}),
        ("operator/kubeembed_api/names.py", {"control", "runtime"}),
        ("operator/kubeembed_operator/new.py", {"control"}),
        ("runtime/kubeembed_runtime/new.py", {"runtime"}),
        ("runtime/kubeembed_weights/__init__.py", {"control", "runtime"}),
        ("README.md", set()),
        ("tests/new.py", set()),
        ("runtime/kubeembed_runtime/__pycache__/x.pyc", set()),
    ],
)
def test_tag_follows_the_files_of_its_target(checkout: Path, file: str, targets: set[str]) -> None:
    assert changed(checkout, file) == targets


def test_code_leaves_the_layer_of_packages_alone(checkout: Path) -> None:
    before = packages_hash("runtime", DEFAULT, checkout)
    assert changed(checkout, "runtime/kubeembed_runtime/new.py") == {"runtime"}
    assert packages_hash("runtime", DEFAULT, checkout) == before


def test_accelerator_makes_another_runtime_and_the_same_control(checkout: Path) -> None:
    cpu, cuda = tags(checkout), tags(checkout, Options(accelerator="cuda"))
    assert cpu["control"] == cuda["control"]
    assert cpu["runtime"] != cuda["runtime"]


def test_everything_that_the_dockerfile_copies_counts() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for word in line.split()[:-1]
    }
    counted = {*RECIPE, *SHARED_CODE, *(p for t in TARGETS for p in (*PACKAGES[t], *CODE[t]))}
    assert copied == counted - {"Dockerfile", ".dockerignore"}
