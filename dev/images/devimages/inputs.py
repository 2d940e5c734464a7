"""What an image is made of -> its tag: a hash over the Dockerfile, the locks and the code that it gets.

Two hashes, for two speeds: the packages' (minutes to build) and the whole's (seconds).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from devimages.places import CHECKOUT

Target = Literal["control", "runtime"]
Accelerator = Literal["cpu", "cuda"]

TARGETS: tuple[Target, ...] = ("control", "runtime")
TAG_DIGITS = 12

#: What the layer of packages is made of.
PACKAGES: dict[Target, tuple[str, ...]] = {
    "control": ("locks/control.txt",),
    "runtime": ("locks/runtime.txt", "locks/runtime-cpu.txt", "dev/images/stub_cuda.py"),
}
RECIPE = (".dockerignore", "Dockerfile", "dev/images/install.sh", "locks/build.txt")

#: What the last layer is made of; the same as the Dockerfile copies.
CODE: dict[Target, tuple[str, ...]] = {
    "control": ("operator/kubeembed_operator", "operator/kubeembed_gateway"),
    "runtime": ("runtime/kubeembed_runtime",),
}
SHARED_CODE = ("LICENSE", "pyproject.toml", "operator/kubeembed_api", "runtime/kubeembed_weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user may choose, as the Dockerfile's arguments of the same names."""

    base: str | None = None
    accelerator: Accelerator = "cpu"
    torch_index: str | None = None


def packages_hash(target: Target, options: Options, root: Path = CHECKOUT) -> str:
    """Hash of all that the target's installed packages depend on."""
    return digest(
        root,
        (*RECIPE, *PACKAGES[target]),
        f"{options.base} {options.accelerator if target == 'runtime' else ''} {options.torch_index}",
    )


def tag(target: Target, options: Options, root: Path = CHECKOUT) -> str:
    """The image's tag: 12 hex digits over packages and code. Uncommitted changes count."""
    code = digest(root, (*SHARED_CODE, *CODE[target]), packages_hash(target, options, root))
    return code[:TAG_DIGITS]


def name(target: Target, options: Options, root: Path = CHECKOUT) -> str:
    """The image's name, as Pods ask for it."""
    return f"localhost/kubeembed/{target}:{tag(target, options, root)}"


def digest(root: Path, paths: Iterable[str], more: str) -> str:
    """SHA-256 over the names, modes and contents of files; a folder counts with all that is in it."""
    told = hashlib.sha256(more.encode())
    for path in paths:
        for file in sorted(files(root / path)):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            mode = file.stat().st_mode & 0o111
            told.update(f"\n{file.relative_to(root)} {mode:o} {content}".encode())
    return told.hexdigest()


def files(path: Path) -> list[Path]:
    """The file itself, or the files below the folder without Python's own leavings."""
    if path.is_file():
        return [path]
    return [p for p in path.rglob("*") if p.is_file() and p.parent.name != "__pycache__"]
