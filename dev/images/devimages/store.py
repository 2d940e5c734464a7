"""buildah with a store of its own in the cache folder, so that nothing of the user's is touched."""

import json
import subprocess
from pathlib import Path

from devimages.console import Step
from devimages.places import cache
from devimages.process import PATH, run


def command(*words: str | Path) -> list[str]:
    """A command line of buildah on our store."""
    root = cache() / "store"
    return ["buildah", f"--root={root}", f"--runroot={root}-run", *map(str, words)]


def buildah(*words: str | Path, step: Step | None = None) -> str:
    """What buildah wrote. Raises CommandFailed."""
    return run(command(*words), step)


def images() -> list[str]:
    """name:tag of the named images, newest first."""
    answer = subprocess.run(
        command("images", "--json"), capture_output=True, check=True, env={"PATH": PATH}
    )
    listed = sorted(json.loads(answer.stdout), key=lambda image: -int(image["created"]))
    return [name for image in listed for name in image["names"] or []]


def has(image: str) -> bool:
    return image in images()


def prune(prefix: str, keep: int) -> None:
    """Forgets all but the newest images whose name begins so, and the layers that no image needs."""
    for name in [name for name in images() if name.startswith(prefix)][keep:]:
        buildah("rmi", name)
    buildah("rmi", "--prune")
