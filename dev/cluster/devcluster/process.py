"""Running the machine's programs, and asking the kernel about processes."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devcluster.errors import ClusterError, CommandFailed

# Debian keeps runc, nft and ip outside an ordinary user's path.
PATH = os.pathsep.join(
    [os.environ.get("PATH", ""), "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"]
)
PROC = Path("/proc")
# Components get no more than this: a proxy named in the caller's environment must not reach them.
CLEAN_ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def run(argv: Sequence[str | Path], *, stdin: bytes | None = None) -> str:
    """Standard output of a program. CommandFailed if it answers with an error, ClusterError if absent."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, check=False, env=CLEAN_ENVIRONMENT
        )
    except FileNotFoundError:
        raise ClusterError(
            f"`{words[0]}` is not on this machine; `python3 dev/cluster build` installs it"
        ) from None
    if done.returncode:
        raise CommandFailed(
            words, done.returncode, (done.stderr + done.stdout).decode(errors="replace")
        )
    return done.stdout.decode()


def stat_fields(pid: int, proc: Path = PROC) -> list[str]:
    """Fields of /proc/PID/stat from the state on: [0] state, [1] parent, [19] start time. Empty: gone."""
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()


def alive(pid: int, proc: Path = PROC) -> bool:
    """PROC may be that of another process namespace."""
    fields = stat_fields(pid, proc)
    return bool(fields) and fields[0] not in "ZX"


def start_time(pid: int) -> str:
    """Clock ticks since boot at which it started: with the pid it names a process for good."""
    fields = stat_fields(pid)
    return fields[19] if fields else ""


def first_child(parent: int) -> int | None:
    """Any one child of a process; read from /proc because not every kernel lists children."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and stat_fields(int(entry.name))[1:2] == [str(parent)]:
            return int(entry.name)
    return None
