"""The command line: `python3 dev/cluster COMMAND [NAME]`. Steps go to stderr, answers to stdout."""

import argparse
import fcntl
import json
import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from devcluster import build, components, holder, images, network, node, status
from devcluster.cluster import ROOT, Cluster, every, find, record, require
from devcluster.console import say
from devcluster.errors import ClusterError

DEFAULT_NAME = "kubeembed"


def main(argv: list[str]) -> int:
    """Run one command. Returns its exit status."""
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        if platform.system() != "Linux" or os.geteuid() != 0:
            raise ClusterError(
                "dev/cluster needs Linux and root: it makes namespaces, cgroups and interfaces"
            )
        command = COMMANDS[arguments.command]
        return command(arguments)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130


#: Signals that came. Python drops an exception that a handler raises inside a destructor or a weak
#: reference's callback, so that the exception alone would not do.
_signals: list[int] = []


def _interrupted(signal: int, _frame: object) -> None:
    _signals.append(signal)
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 dev/cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, *, named: str = "?") -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        if named:
            default = DEFAULT_NAME if named == "?" and name != "status" else None
            added.add_argument(
                "name", metavar="NAME", nargs=None if named == "1" else "?", default=default
            )
        return added

    command("build", "compile the programs, unless the cache has them", named="")
    up = command("up", "start a cluster; does nothing when it is up")
    up.add_argument("--gpus", type=int, default=None, metavar="N", help="pretend N nvidia.com/gpu")
    up.add_argument("--audit", action="store_true", help="log every request to the API server")
    up.add_argument(
        "--flag",
        action="append",
        default=[],
        metavar="COMPONENT=--FLAG",
        help=f"add a flag to a component ({', '.join(components.NAMES)})",
    )
    down = command("down", "end a cluster and remove its state")
    down.add_argument("--keep", action="store_true", help="keep the state for a later `up`")
    shown = command("status", "say what a cluster is and where its parts are; all without NAME")
    shown.add_argument("--json", action="store_true", help="the same for programs")
    load = command("load", "bring image archives (OCI, docker) into the node", named="1")
    load.add_argument("archives", metavar="ARCHIVE", nargs="+", type=Path)
    crash = command("crash", "end a component with SIGKILL and start it again", named="1")
    crash.add_argument("component", choices=components.NAMES, metavar="COMPONENT")
    crash.add_argument("--away", type=float, default=0.0, metavar="SECONDS", help="in between")
    command("kubeconfig", "print the path of the administrator's kubeconfig")
    for name, text in (
        ("kubectl", "run kubectl as the cluster's administrator"),
        ("exec", "run a command in the node's namespaces"),
    ):
        command(name, text, named="1").add_argument("words", nargs=argparse.REMAINDER)
    tool = command("tool", "print the path of a program: kubectl, helm, ctr ...", named="")
    tool.add_argument("program")
    return parser


def _build(_arguments: argparse.Namespace) -> int:
    print(build.ensure())
    return 0


def _up(arguments: argparse.Namespace) -> int:
    flags = tuple(_flag(each) for each in arguments.flag)
    find(arguments.name)  # refuses a bad name before the long build
    programs = build.ensure()
    with _alone(ROOT / arguments.name):
        cluster = find(arguments.name)
        if cluster is not None and holder.pid_of(cluster) is not None:
            return _stays_up(cluster, arguments)
        kept = cluster or _numbered(arguments.name)
        wanted = replace(
            kept,
            gpus=kept.gpus if arguments.gpus is None else arguments.gpus,
            audit=arguments.audit or kept.audit,
            flags=flags,
        )
        node.stop(kept)  # what an unclean end may have left
        node.up(wanted, programs)
        if _signals:
            node.stop(wanted)
            raise KeyboardInterrupt
    print(status.as_text(status.of(wanted, programs)))
    return 0


def _numbered(name: str) -> Cluster:
    """A new cluster with a number of its own; recorded at once, so that no other start takes the same."""
    with _alone(ROOT):
        number = network.free_number({each.number for each in every()})
        cluster = Cluster(name=name, number=number)
        record(cluster)
    return cluster


def _stays_up(cluster: Cluster, arguments: argparse.Namespace) -> int:
    missing = status.absent(cluster)
    again = f"`python3 dev/cluster down {cluster.name}` first"
    if missing:
        raise ClusterError(f"{cluster.name} is broken: no {', '.join(missing)}; {again}")
    if arguments.flag or (arguments.audit and not cluster.audit):
        raise ClusterError(f"{cluster.name} is up without what is asked for; {again}")
    say(f"{cluster.name} is up")
    if arguments.gpus not in (None, cluster.gpus):
        changed = replace(cluster, gpus=arguments.gpus)
        node.set_gpus(changed)
        record(changed)
    return 0


def _flag(text: str) -> tuple[str, str]:
    component, _, flag = text.partition("=")
    if component not in components.NAMES or not flag.startswith("-"):
        have = ", ".join(components.NAMES)
        raise ClusterError(f"--flag {text!r}: write COMPONENT=--FLAG with one of {have}")
    return component, flag


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock a folder, made if need be. If it is removed while we wait, the lock is taken on the new one."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"          waiting for another command on {folder}")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if folder.exists() and os.fstat(descriptor).st_ino == folder.stat().st_ino:
                yield
                return
        finally:
            os.close(descriptor)


def _down(arguments: argparse.Namespace) -> int:
    find(arguments.name)  # refuses a bad name
    if not (ROOT / arguments.name).exists():
        say(f"no cluster {arguments.name}")
        return 0
    with _alone(ROOT / arguments.name):
        cluster = find(arguments.name)
        if cluster is not None:
            node.down(cluster, keep=arguments.keep)
        else:
            node.remove(ROOT / arguments.name)  # the logs of a start that failed
    return 0


def _status(arguments: argparse.Namespace) -> int:
    clusters = [require(arguments.name)] if arguments.name else every()
    found = [status.of(each, build.folder()) for each in clusters]
    if arguments.json:
        print(json.dumps(found[0] if arguments.name else found, indent=1))
    else:
        print("\n".join(status.as_text(each) for each in found) or "no cluster")
    return 0 if all(each["up"] for each in found) else 3


def _load(arguments: argparse.Namespace) -> int:
    cluster, programs = require(arguments.name), build.ensure()
    for archive in arguments.archives:
        images.load(cluster, programs, archive)
    return 0


def _crash(arguments: argparse.Namespace) -> int:
    cluster, programs = require(arguments.name), build.ensure()
    node.crash(cluster, programs, arguments.component, arguments.away)
    return 0


def _kubeconfig(arguments: argparse.Namespace) -> int:
    print(require(arguments.name).kubeconfig())
    return 0


def _kubectl(arguments: argparse.Namespace) -> int:
    cluster, programs = require(arguments.name), build.ensure()
    kubectl = str(programs / "kubectl")
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig()), "NO_PROXY": "*"}
    os.execve(kubectl, [kubectl, *arguments.words], environment)


def _exec(arguments: argparse.Namespace) -> int:
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    if not words:
        raise ClusterError("exec: write the command to run after the name")
    argv = [*holder.enter(holder.require(require(arguments.name))), *words]
    os.execvp(argv[0], argv)


def _tool(arguments: argparse.Namespace) -> int:
    program = build.ensure() / arguments.program
    if not program.exists():
        have = ", ".join(sorted(path.name for path in program.parent.iterdir()))
        raise ClusterError(f"no program {arguments.program!r}; have: {have}")
    print(program)
    return 0


COMMANDS = {
    "build": _build,
    "up": _up,
    "down": _down,
    "status": _status,
    "load": _load,
    "crash": _crash,
    "kubeconfig": _kubeconfig,
    "kubectl": _kubectl,
    "exec": _exec,
    "tool": _tool,
}
