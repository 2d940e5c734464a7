"""Clusters come and go: two at once, one kept, one that fails; and nothing of them stays."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nodekit import ROOT, Kube, run, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

Tool = Callable[..., str]
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "pause"},
    "spec": {"containers": [{"name": "pause", "image": "localhost/pause:1"}]},
}


@dataclass(frozen=True, kw_only=True)
class Traces:
    """What a cluster could leave on the machine. All empty: nothing was left."""

    processes: tuple[str, ...]
    mounts: tuple[str, ...]
    cgroups: tuple[str, ...]
    links: tuple[str, ...]
    routes: tuple[str, ...]
    state: tuple[str, ...]


NOTHING = Traces(processes=(), mounts=(), cgroups=(), links=(), routes=(), state=())


def traces(info: dict[str, Any], namespaces: set[str]) -> Traces:
    """NAMESPACES: those that the cluster had while it was up; a process in one of them is the cluster's."""
    number = info["nodeAddress"].split(".")[2]
    name, routes = info["name"], run("ip", "-4", "route").splitlines()
    nets = (f"10.250.{number}.", info["pods"].split("/")[0], info["services"].split("/")[0])
    links = run("ip", "-br", "link").splitlines()
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return Traces(
        processes=tuple(each for each, inside in processes() if inside & namespaces),
        mounts=tuple(each for each in mounts if f"/kubeembed-cluster/{name}/" in each),
        cgroups=tuple(map(str, Path("/sys/fs/cgroup").glob(f"**/kubeembed-{name}"))),
        links=tuple(each for each in links if f"kubeembed{number}@" in each),
        routes=tuple(each for each in routes if each.startswith(nets)),
        state=tuple(map(str, Path("/var/lib/kubeembed-cluster").glob(name))),
    )


def processes() -> Iterator[tuple[str, set[str]]]:
    """Every live process of the machine: its pid, and those of its namespaces that are not ours."""
    own = namespaces_of("self")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield entry.name, namespaces_of(entry.name) - own


def namespaces_of(pid: str) -> set[str]:
    found = set()
    for kind in ("mnt", "net", "pid"):
        with suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
    return found


def namespaces_of_cluster(info: dict[str, Any]) -> set[str]:
    """Those of the holder and of all that it brought forth, pods included."""
    holder = json.loads((Path(info["kubeconfig"]).parent / "holder.json").read_text())["pid"]
    parents = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                status = (entry / "stat").read_text()
                parents[int(entry.name)] = int(status[status.rindex(")") + 2 :].split()[1])
    family = {holder}
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    return set().union(*(namespaces_of(str(pid)) for pid in family)) - namespaces_of("self")


@pytest.fixture
def cluster(tool: Tool) -> Iterator[Callable[..., dict[str, Any]]]:
    """Start clusters by name; whatever is left of them is ended afterwards."""
    names: list[str] = []

    def up(name: str, *words: str) -> dict[str, Any]:
        names.append(name)
        tool("up", name, *words)
        return dict(json.loads(tool("status", name, "--json")))

    yield up
    for name in names:
        tool("down", name)


def start_pod(info: dict[str, Any]) -> Kube:
    kube = Kube(info, "default")
    kube.apply(POD)
    kube.ctl("wait", "--for=condition=Ready", "pod/pause", "--timeout=180s")
    return kube


def test_two_clusters_at_once_know_nothing_of_each_other_and_leave_nothing(
    cluster: Callable[..., dict[str, Any]], tool: Tool
) -> None:
    with ThreadPoolExecutor() as both:
        first, second = both.map(cluster, ("first", "second"))
    assert first["nodeAddress"] != second["nodeAddress"]
    inside = {}
    for info in (first, second):
        kube = start_pod(info)
        assert [each["metadata"]["name"] for each in kube.get("nodes")["items"]] == [info["node"]]
        inside[info["name"]] = namespaces_of_cluster(info)
    assert len(inside["first"]) >= 6, "the node's three, and the pod's"

    tool("down", "first")
    assert traces(first, inside["first"]) == NOTHING
    assert json.loads(tool("status", "second", "--json"))["up"]
    assert (
        start_pod(second).get("pod", "pause")["status"]["containerStatuses"][0]["restartCount"] == 0
    )
    tool("down", "second")
    assert traces(second, inside["second"]) == NOTHING


def test_a_component_that_fails_is_shown_and_everything_is_cleaned_up(
    cluster: Callable[..., dict[str, Any]], tool: Tool
) -> None:
    failed = subprocess.run(
        [sys.executable, "dev/cluster", "up", "failing", "--flag", "kube-scheduler=--no-such-flag"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert failed.returncode == 1
    assert "error: kube-scheduler ended. The end of" in failed.stderr
    assert "unknown flag: --no-such-flag" in failed.stderr
    assert not running("/var/lib/kubeembed-cluster/failing/")
    logs = Path("/var/lib/kubeembed-cluster/failing")
    assert [path.name for path in logs.iterdir()] == ["log"]
    tool("down", "failing")
    assert not logs.exists()
    assert not list(Path("/sys/fs/cgroup").glob("**/kubeembed-failing"))


def running(part: str) -> list[str]:
    """Command lines of live processes that have PART in them."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and part in (line := (entry / "cmdline").read_text()):
                found.append(line.replace("\0", " "))
    return found


def test_an_interrupted_start_leaves_no_process() -> None:
    state = "/var/lib/kubeembed-cluster/interrupted/"
    with subprocess.Popen(
        [sys.executable, "dev/cluster", "up", "interrupted"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as starting:
        try:
            until("the API server is started", lambda: running(f"{state}etcd"), 180)
            starting.terminate()
            assert starting.wait(120) == 130
            assert not running(state)
        finally:
            starting.kill()
            run(sys.executable, "dev/cluster", "down", "interrupted")


def test_a_kept_cluster_comes_back_with_its_objects(
    cluster: Callable[..., dict[str, Any]], tool: Tool
) -> None:
    kube = start_pod(cluster("kept", "--gpus", "2"))
    kube.ctl("create", "configmap", "remembered")
    tool("down", "kept", "--keep")
    assert not json.loads(tool("status", "kept", "--json", check=False) or "{}").get("up")
    again = cluster("kept")
    assert again["gpus"] == 2
    assert kube.get("configmap", "remembered")
    until("the pod runs again", lambda: restarts(kube) == 1, 180)


def restarts(kube: Kube) -> int:
    status = kube.get("pod", "pause")["status"]
    running_now = [each for each in status["containerStatuses"] if "running" in each["state"]]
    return running_now[0]["restartCount"] if running_now else -1


def test_status_and_up_name_the_component_that_is_no_more(
    cluster: Callable[..., dict[str, Any]], tool: Tool
) -> None:
    info = cluster("broken")
    pid = (Path(info["kubeconfig"]).parent / "running" / "kube-scheduler.pid").read_text().strip()
    tool("exec", "broken", "kill", "-9", pid)
    until("it is gone", lambda: broken(tool) == ["kube-scheduler"], 60)
    assert "broken is broken: no kube-scheduler" in tool("up", "broken", check=False)


def broken(tool: Tool) -> list[str]:
    """Status answers 3 for a cluster that is not up: what it says is on stdout all the same."""
    done = subprocess.run(
        [sys.executable, "dev/cluster", "status", "broken", "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return list(json.loads(done.stdout)["missing"])
