"""Starts components on the node, and tells when one has ended.

A component is an orphan that pause takes in: no process of the machine has to stay. It begins as a shell that
writes down its pid, as the node counts; the node's own /proc tells whether that process is still there.
"""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devcluster import holder
from devcluster.cluster import Cluster
from devcluster.components import NAMES, Component
from devcluster.errors import ClusterError, CommandFailed, ComponentFailed, TimedOut
from devcluster.process import CLEAN_ENVIRONMENT, alive, run
from devcluster.waiting import wait_until

BEGIN = 'echo $$ >"$0"; exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A running holder, to start components on."""

    cluster: Cluster
    holder: int

    def start(self, component: Component, *, again: bool = False) -> None:
        """Start a component, its output into its log; again: behind what an earlier process wrote."""
        record = _record(self.cluster, component.name)
        record.parent.mkdir(exist_ok=True)
        record.unlink(missing_ok=True)
        argv = ["setsid", "--fork", "sh", "-c", BEGIN, str(record)]
        with log_of(self.cluster, component.name).open("ab" if again else "wb") as log:
            subprocess.run(
                [*holder.enter(self.holder), *argv, *component.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=CLEAN_ENVIRONMENT,
                check=True,
            )

    def wait(self, name: str, what: str, seconds: float, true: Callable[[], bool]) -> None:
        """Raises ComponentFailed when NAME does not do WHAT in time, or any component ends meanwhile."""

        def settled() -> bool:
            for each in NAMES:
                if ended(self.cluster, each):
                    raise ComponentFailed(each, "ended", log_of(self.cluster, each))
            return true()

        try:
            wait_until(what, seconds, settled)
        except TimedOut:
            log = log_of(self.cluster, name)
            raise ComponentFailed(name, f"did not {what} within {seconds:g} s", log) from None


def log_of(cluster: Cluster, component: str) -> Path:
    return cluster.logs / f"{component}.log"


def running(cluster: Cluster) -> list[str]:
    """The components that run; none when the cluster is down."""
    started = [name for name in NAMES if _pid(cluster, name)]
    return [name for name in started if not ended(cluster, name)]


def ended(cluster: Cluster, component: str) -> bool:
    """Whether it was started and is no more."""
    pid, node = _pid(cluster, component), holder.pid_of(cluster)
    return bool(pid) and (node is None or not alive(pid, Path(f"/proc/{node}/root/proc")))


def terminate(cluster: Cluster, component: str) -> None:
    """Ask it to end, if it runs."""
    if component in running(cluster):
        pid = _pid(cluster, component)
        with suppress(CommandFailed):  # it has ended meanwhile
            run([*holder.enter(holder.require(cluster)), "kill", str(pid)])


def kill(cluster: Cluster, component: str) -> None:
    """End it with SIGKILL. Returns once it is gone; raises ClusterError if it does not run."""
    pid, node = _pid(cluster, component), holder.require(cluster)
    if component not in running(cluster):
        raise ClusterError(f"{component} of {cluster.name} does not run")
    with suppress(CommandFailed):  # it has ended meanwhile
        run([*holder.enter(node), "kill", "-KILL", str(pid)])
    wait_until(f"{component} to end", 10, lambda: ended(cluster, component))


def forget(cluster: Cluster) -> None:
    """Remove the records, once nothing runs any more."""
    shutil.rmtree(_record(cluster, "any").parent, ignore_errors=True)


def _record(cluster: Cluster, component: str) -> Path:
    return cluster.state / "running" / f"{component}.pid"


def _pid(cluster: Cluster, component: str) -> int:
    """As the node counts; 0 while it was not started."""
    try:
        return int(_record(cluster, component).read_text())
    except (FileNotFoundError, ValueError):  # the shell has not written it yet
        return 0
