"""The node's programs, compiled once from Go modules and kept in the user's cache by their sources' hash.

Everything is one Go module and one `go build`, because Kubernetes, containerd, CoreDNS and Helm share
most of their packages: together they compile in little more than the time of the first.
"""

import fcntl
import hashlib
import os
import platform
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster import packages, pause
from devcluster.console import Step, step
from devcluster.errors import ClusterError, CommandFailed

SOURCE = Path(__file__).parents[1]
KUBERNETES = "1.37.2"
CONTAINERD = "2.4.2"
PACKAGES = (
    "./cmd/kubenode",
    "./cmd/coredns",
    "github.com/containerd/containerd/v2/cmd/containerd",
    "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
    "github.com/containerd/containerd/v2/cmd/ctr",
    "helm.sh/helm/v4/cmd/helm",
)
# Without the -X the servers would say that they are v0.0.0.
STAMPS = {
    "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES}",
    "k8s.io/component-base/version.gitMajor": KUBERNETES.split(".")[0],
    "k8s.io/component-base/version.gitMinor": KUBERNETES.split(".")[1],
    "github.com/containerd/containerd/v2/version.Version": CONTAINERD,
}
LINKER_FLAGS = "-s -w " + " ".join(f"-X {name}={value}" for name, value in STAMPS.items())
FLAGS = ("-trimpath", "-buildvcs=false", "-ldflags", LINKER_FLAGS)
# One program that is named by how it is called.
CALLED_AS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)


def folder() -> Path:
    """Where the programs for exactly these sources are, or will be."""
    inputs = hashlib.sha256(repr((PACKAGES, FLAGS, platform.machine())).encode())
    sources = [SOURCE / "pause.c", *sorted(p for p in (SOURCE / "go").rglob("*") if p.is_file())]
    for path in sources:
        inputs.update(f"{path.relative_to(SOURCE)}\0".encode() + path.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "kubeembed" / "cluster" / inputs.hexdigest()[:16]


def ensure() -> Path:
    """The folder of programs, built if it is not there. Of two callers at once the second finds it built."""
    packages.install()
    programs = folder()
    if programs.is_dir():
        return programs
    programs.parent.mkdir(parents=True, exist_ok=True)
    with _alone(programs.parent):
        if not programs.is_dir():
            _build(programs)
    return programs


@contextmanager
def _alone(where: Path) -> Iterator[None]:
    descriptor = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _build(programs: Path) -> None:
    go = _go()
    for dead in programs.parent.glob(".building-*"):  # of a build that was killed
        shutil.rmtree(dead)
    scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=programs.parent))
    try:
        with step("fetch the Go modules that are not in the module cache") as running:
            listed = _follow([go, "list", "-deps", *PACKAGES], running, "module downloads")
        total = sum(1 for line in listed if not line.startswith("go: "))
        with step(
            f"compile Kubernetes {KUBERNETES}, etcd, containerd, CoreDNS and Helm"
        ) as running:
            argv = ["nice", "-n", "10", go, "build", "-v", *FLAGS, "-o", f"{scratch}/", *PACKAGES]
            _follow(argv, running, f"of at most {total} packages compiled")
        with step("compile pause and pack its image"):
            pause.build(SOURCE / "pause.c", scratch)
        for name in CALLED_AS:
            (scratch / name).symlink_to("kubenode")
        scratch.chmod(0o755)
        scratch.rename(programs)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _go() -> str:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise ClusterError(
            "Go is needed to build the cluster's programs: 1.26.6 or newer, from https://go.dev/dl/"
        )
    return go


def _follow(argv: list[str], running: Step, unit: str) -> list[str]:
    """Run a Go command, its lines counted as progress, and return them. CommandFailed shows the last."""
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    lines: list[str] = []
    with subprocess.Popen(
        argv,
        cwd=SOURCE / "go",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        arriving: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(child, arriving), daemon=True).start()
        try:
            while (line := _next(arriving)) is not None:
                if line:
                    lines.append(line)
                running.progress(f"{len(lines)} {unit}")
        except BaseException:
            child.terminate()
            raise
    if child.returncode:
        raise CommandFailed(argv, child.returncode, "\n".join(lines))
    return lines


def _read(child: "subprocess.Popen[str]", arriving: "queue.Queue[str | None]") -> None:
    assert child.stdout is not None
    for line in child.stdout:
        arriving.put(line.rstrip())
    arriving.put(None)


def _next(arriving: "queue.Queue[str | None]") -> str | None:
    """The next line; an empty one when none came for a second, so that the clock moves on."""
    try:
        return arriving.get(timeout=1)
    except queue.Empty:
        return ""
