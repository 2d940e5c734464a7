"""The Debian image that the Dockerfile starts from: pulled, or put together from Debian's own packages.

The second needs no image registry. It is the same distribution with the same apt: the same Dockerfile builds.
"""

import re
import tempfile
from pathlib import Path

from devimages import store
from devimages.console import step
from devimages.errors import CommandFailed, ImageError
from devimages.places import CHECKOUT
from devimages.process import run

#: As in Debian's slim images: nobody reads manuals in a container.
LEFT_OUT = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
)


def ensure(chosen: str | None) -> str:
    """Name of a base image that is in the store. `chosen` is the user's; None is the Dockerfile's."""
    wanted = chosen or default()
    local = f"localhost/kubeembed/base:{re.sub(r'[^A-Za-z0-9_.-]', '-', wanted)}"
    if store.has(local):
        return local
    try:
        with step(f"pull {wanted}") as running:
            store.buildah("pull", wanted, step=running)
    except CommandFailed:
        if chosen is not None:
            raise
        bootstrap(suite(wanted), local)
        return local
    store.buildah("tag", wanted, local)
    return local


def default() -> str:
    """The base image that the Dockerfile names."""
    found = re.search(r"^ARG BASE=(\S+)$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)
    if found is None:
        raise ImageError("the Dockerfile has no line `ARG BASE=...`; give --base")
    return found[1]


def suite(image: str) -> str:
    """debian:bookworm-slim -> bookworm."""
    return image.partition(":")[2].partition("-")[0]


def bootstrap(release: str, image: str) -> None:
    """Installs Debian's smallest system into an image. Takes half a minute."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        step(f"put together Debian {release}") as running,
    ):
        archive = Path(scratch) / "base.tar"
        run(
            [
                *("mmdebstrap", "--variant=minbase", "--include=ca-certificates"),
                *(f"--dpkgopt={option}" for option in LEFT_OUT),
                *(release, archive),
            ],
            running,
        )
        container = store.buildah("from", "scratch").strip()
        try:
            store.buildah("add", "-q", container, archive, "/")
            store.buildah("config", "--cmd", "bash", container)
            store.buildah("commit", "-q", container, image)
        finally:
            store.buildah("rm", container)
