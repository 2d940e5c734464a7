"""Runs the machine's programs, and follows what they write line by line."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devimages.console import Step
from devimages.errors import CommandFailed, ImageError

# Debian keeps some programs outside an ordinary user's path.
PATH = os.pathsep.join(
    [os.environ.get("PATH", ""), "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"]
)


def run(argv: Sequence[str | Path], step: Step | None = None) -> str:
    """Everything that a program wrote, both streams. With a step, each line becomes its detail.

    Raises CommandFailed if it answers with an error, ImageError if it is absent.
    """
    words = [str(word) for word in argv]
    environment = os.environ | {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive"}
    lines: list[str] = []
    try:
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
    except FileNotFoundError:
        raise ImageError(f"`{words[0]}` is not on this machine") from None
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if step is not None and line.strip():
                step.detail = line.strip()
    if process.returncode:
        raise CommandFailed(words, process.returncode, lines)
    return "\n".join(lines)
