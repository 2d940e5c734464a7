"""Says what is being done while it is done: one line for each step, with the seconds it took.

Lines go to stderr, so that stdout carries only what was asked for. On a terminal the running step's line
is rewritten in place; elsewhere (a CI log) a step that takes long writes a new line now and then.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

QUIET_SECONDS = 15.0  # a log that says nothing for longer looks hung


class Step:
    """One running step. `progress` may be called as often as wanted."""

    def __init__(self, text: str, stream: TextIO) -> None:
        self._text = text
        self._stream = stream
        self._began = self._written = time.monotonic()
        self._terminal = stream.isatty()
        if self._terminal:
            self.progress("")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def progress(self, detail: str) -> None:
        now = time.monotonic()
        if self._terminal:
            self._stream.write(f"\r\x1b[K{self.seconds:7.1f} s  {self._text} ... {detail}")
        elif now - self._written >= QUIET_SECONDS:
            self._stream.write(f"{self.seconds:7.1f} s  ... {self._text}: {detail or 'waiting'}\n")
        else:
            return
        self._written = now
        self._stream.flush()

    def end(self, mark: str = "") -> None:
        start = "\r\x1b[K" if self._terminal else ""
        self._stream.write(f"{start}{self.seconds:7.1f} s  {self._text}{mark}\n")
        self._stream.flush()


@contextmanager
def step(text: str) -> Iterator[Step]:
    """A line that ends with the seconds taken, or says that the step failed."""
    running = Step(text, sys.stderr)
    try:
        yield running
    except BaseException:
        running.end(": FAILED")
        raise
    running.end()


def say(text: str) -> None:
    """A line that is not a step."""
    print(text, file=sys.stderr, flush=True)
