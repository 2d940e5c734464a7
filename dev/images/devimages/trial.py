"""One command in an image as a restricted Pod has it: user 10001, root read-only, no capability, no network.

It needs no Kubernetes, so that a broken image shows at once; the tests on the real node are the proof.
"""

import json
import subprocess
from collections.abc import Sequence

from devimages import store
from devimages.errors import ImageError
from devimages.process import PATH

SCRIPT = """
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/tmp"
root=$1; shift
exec chroot "$root" setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs \
  --inh-caps=-all --bounding-set=-all env --ignore-environment "$@"
"""


def run(image: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The command's end with both outputs. Raises ImageError where the image is not in the store."""
    if not store.has(image):
        raise ImageError(f"{image} is not built; `python3 dev/images build` builds it")
    container = store.buildah("from", "--pull-never", image).strip()
    try:
        root = store.buildah("mount", container).strip()
        return subprocess.run(
            [
                *("unshare", "--mount", "--net", "--pid", "--fork", "--propagation", "private"),
                *("sh", "-euc", SCRIPT, "sh", root, *variables(image), *command),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": PATH},
        )
    finally:
        store.buildah("rm", container)


def variables(image: str) -> list[str]:
    """NAME=value as the image sets them."""
    answer = json.loads(store.buildah("inspect", "--type=image", image))
    return list(answer["OCIv1"]["config"].get("Env", ()))
