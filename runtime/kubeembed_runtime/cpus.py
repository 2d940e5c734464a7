"""How many threads may compute: the cgroup's CPU quota, not the host's cores.

More threads than quota are throttled in the middle of a matrix product, and then all wait for the slowest. A
quota of 1.5 counts as one thread for the same reason.
"""

import os
from pathlib import Path

#: A few microseconds: from one product of a forward pass to the next.
SPINS = "2000"

#: Compiled matrix products that are kept, half a megabyte each. A model of one width needs 160: 4 for each of
#: the numbers of rows that batches are rounded up to.
KERNELS = "256"

_V1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


def thread_count(root: Path = Path("/")) -> int:
    """At least 1. `root` is where /proc and /sys are found."""
    cores = len(os.sched_getaffinity(0))
    quotas = [quota for folder in _folders(root) if (quota := _quota(folder)) is not None]
    return max(1, min([cores, *(int(quota) for quota in quotas)]))


def environment(threads: int) -> dict[str, str]:
    """What thread pools of libraries read from the environment, once, when they are loaded.

    The tokenizer's has a size of its own. The matrix products' spins by default for milliseconds at each of a
    forward pass's many joins: with others at work on the same two cores, 24 products of 17 rows took 380 to
    590 ms, and 20 to 40 where it soon sleeps.
    """
    return {
        "RAYON_NUM_THREADS": str(threads),
        "GOMP_SPINCOUNT": SPINS,
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": KERNELS,
    }


def _folders(root: Path) -> list[Path]:
    """The folders of our cgroup and of all above it, where a limit may be written: v2, then v1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        own = mount / path.lstrip("/")
        found += [own, *(parent for parent in own.parents if parent.is_relative_to(mount))]
        found.append(mount)  # in a container the path may be the host's, the mount is ours
    return found


def _quota(folder: Path) -> float | None:
    """CPUs that this cgroup may use, or None where it sets no limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / name).read_text().strip() for name in _V1)
    except (OSError, ValueError):
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
