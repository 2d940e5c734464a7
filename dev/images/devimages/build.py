"""Targets of the Dockerfile -> images in the store -> archives that containerd imports.

An archive is a docker-archive, whose layers are not compressed: a gigabyte is written in seconds, and
containerd takes a layer that it already has by its digest, without unpacking it again.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devimages import base, inputs, network, packages, store
from devimages.console import say, step
from devimages.inputs import Options, Target
from devimages.places import CHECKOUT, cache

#: The archives and images of a target that stay: the newest, and the one before for going back.
KEPT = 2

TOOLS = "localhost/kubeembed/tools:latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An image and the file to import it from."""

    target: Target
    image: str
    archive: Path


def build(targets: tuple[Target, ...], options: Options) -> list[Built]:
    """Builds what is not there yet. Raises ImageError."""
    with alone():
        return build_missing(targets, options)


@contextmanager
def alone() -> Iterator[None]:
    """One build at a time on this machine: a second waits, and then finds everything built."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("wait for another build"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build_missing(targets: tuple[Target, ...], options: Options) -> list[Built]:
    built = [expected(target, options) for target in targets]
    missing = [one for one in built if not one.archive.exists()]
    for one in built:
        if one not in missing:
            one.archive.touch()  # the newest are kept
            say(f"{one.image} is built")
    if missing:
        packages.install()
        started_from = base.ensure(options.base)
        # Named, so that pruning leaves it for the next change of code.
        make("tools", TOOLS, started_from, options)
    for one in missing:
        produce(one, started_from, options)
    return built


def expected(target: Target, options: Options) -> Built:
    """Where the image will be, whether or not it is."""
    tag = inputs.tag(target, options)
    return Built(
        target=target,
        image=inputs.name(target, options),
        archive=cache() / f"{target}-{tag}.tar",
    )


def produce(one: Built, started_from: str, options: Options) -> None:
    if not store.has(one.image):
        make(one.target, one.image, started_from, options)
    export(one)
    with step(f"remove older images of {one.target}"):
        archives = sorted(
            cache().glob(f"{one.target}-*.tar"), key=lambda path: path.stat().st_mtime, reverse=True
        )
        for old in archives[KEPT:]:
            old.unlink()
        store.prune(f"localhost/kubeembed/{one.target}:", KEPT)


def make(target: str, image: str, started_from: str, options: Options) -> None:
    """One run of buildah. chroot isolation asks the least of the machine: no runc, no cgroups of its own."""
    arguments = [
        *("build", "--layers", "--isolation=chroot", "--network=host", "--pull-never"),
        *(f"--target={target}", f"--tag={image}", f"--build-arg=BASE={started_from}"),
        *network.arguments(),
    ]
    if target in inputs.TARGETS:
        arguments.append(f"--build-arg=LOCKS={inputs.packages_hash(target, options)}")
    if target == "runtime":
        arguments.append(f"--build-arg=ACCELERATOR={options.accelerator}")
        if options.torch_index is not None:
            arguments.append(f"--build-arg=TORCH_INDEX={options.torch_index}")
    with step(f"build {target}") as running:
        store.buildah(*arguments, CHECKOUT, step=running)


def export(one: Built) -> None:
    """Writes the archive beside its name and renames it, so that a broken off export is no archive."""
    part = one.archive.with_suffix(".part")
    part.unlink(missing_ok=True)
    with step(f"write {one.archive}") as running:
        store.buildah("push", "-q", one.image, f"docker-archive:{part}:{one.image}", step=running)
        part.rename(one.archive)
