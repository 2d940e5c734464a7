"""What can go wrong, each said with the way out.

ClusterError            shown to the user as it is
+-- CommandFailed       a program ended with an error; carries the end of what it wrote
+-- ComponentFailed     a part of the node ended or did not get ready in time
+-- TimedOut            something else did not become true in time
"""

from pathlib import Path

TAIL_LINES = 25


class ClusterError(Exception):
    """The message is for the user."""


class CommandFailed(ClusterError):
    """A program that was run to its end answered with an error."""

    def __init__(self, argv: list[str], code: int, output: str) -> None:
        lines = "\n".join(output.strip().splitlines()[-TAIL_LINES:])
        super().__init__(f"`{' '.join(argv)}` ended with {code}:\n{lines}")


class TimedOut(ClusterError):
    """What was waited for did not come."""


class ComponentFailed(ClusterError):
    """A part of the node; the message ends with the last lines of its log."""

    def __init__(self, name: str, what: str, log: Path) -> None:
        super().__init__(f"{name} {what}. The end of {log}:\n{tail(log)}")


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Last lines of a log file, shortened to a readable width."""
    if not log.exists():
        return "(no log)"
    text = log.read_text(encoding="utf-8", errors="replace")
    return "\n".join(line[:400] for line in text.splitlines()[-lines:]) or "(empty)"
