import os
from pathlib import Path

import pytest

from kubeembed_runtime.cpus import environment, thread_count

CORES = 8
POD = "/kubepods/pod1"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(CORES)))


CASES: dict[str, tuple[dict[str, str], int]] = {
    "no cgroup": ({}, CORES),
    "v2 without a limit": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"},
        CORES,
    ),
    "v2": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    "v2, one and a half": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"},
        1,
    ),
    "v2, a tenth": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
    "v2, more than there are": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "6400000 100000\n"},
        CORES,
    ),
    "v2, the limit is above": (
        {
            "proc/self/cgroup": f"0::{POD}/box\n",
            f"sys/fs/cgroup{POD}/box/cpu.max": "max 100000\n",
            f"sys/fs/cgroup{POD}/cpu.max": "300000 100000\n",
        },
        3,
    ),
    "v2, the path is the host's": (
        {"proc/self/cgroup": f"0::{POD}\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"},
        4,
    ),
    "v1": (
        {
            "proc/self/cgroup": f"5:memory:{POD}\n4:cpu,cpuacct:{POD}\n",
            f"sys/fs/cgroup/cpu,cpuacct{POD}/cpu.cfs_quota_us": "250000\n",
            f"sys/fs/cgroup/cpu,cpuacct{POD}/cpu.cfs_period_us": "50000\n",
        },
        5,
    ),
    "v1 without a limit": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        CORES,
    ),
    "what nobody writes": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "?\n"}, CORES),
}


@pytest.mark.parametrize(("files", "threads"), CASES.values(), ids=CASES.keys())
def test_threads_are_the_whole_cpus_of_the_quota(
    files: dict[str, str], threads: int, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert thread_count(tmp_path) == threads


def test_libraries_are_told_their_threads_not_to_spin_and_how_many_kernels_to_keep() -> None:
    assert environment(3) == {
        "RAYON_NUM_THREADS": "3",
        "GOMP_SPINCOUNT": "2000",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",
    }
