"""The distribution's programs that build images, installed when they are absent."""

import os
import shutil

from devimages.console import step
from devimages.errors import CommandFailed, ImageError
from devimages.process import PATH, run

NEEDED = ("buildah", "mmdebstrap")


def install() -> None:
    """Raises ImageError where something is absent and can't be installed."""
    wanted = [program for program in NEEDED if not shutil.which(program, path=PATH)]
    if not wanted:
        return
    names = " ".join(wanted)
    if os.geteuid() != 0 or not shutil.which("apt-get", path=PATH):
        raise ImageError(f"install these first (named as in Debian): {names}")
    command = ["apt-get", "-q", "install", "-y", "--no-install-recommends", *wanted]
    with step(f"install {names} of the distribution") as running:
        try:
            run(command, running)
        except CommandFailed:  # no package lists, or older ones than the mirror
            run(["apt-get", "-q", "update"], running)
            run(command, running)
