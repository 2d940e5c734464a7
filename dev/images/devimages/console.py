"""Says what is being done while it is done: one line for each step, with the seconds it took.

Lines go to stderr, so that stdout carries only the names of the images. A step that takes long says every ten
seconds how far it is, because a log that says nothing looks hung.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

QUIET_SECONDS = 10.0
DETAIL_WIDTH = 110


class Step:
    """One running step; `detail` is what it is at."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.detail = ""
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._speaker = threading.Thread(target=self._speak, daemon=True)
        self._speaker.start()

    def end(self, mark: str = "") -> None:
        self._ended.set()
        self._speaker.join()
        self._write(f"{self.text}{mark}")

    def _speak(self) -> None:
        while not self._ended.wait(QUIET_SECONDS):
            self._write(f"... {self.text}: {self.detail or 'waiting'}"[:DETAIL_WIDTH])

    def _write(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[Step]:
    """A line that ends with the seconds taken, or says that the step failed."""
    running = Step(text)
    try:
        yield running
    except BaseException:
        running.end(": FAILED")
        raise
    running.end()


def say(text: str) -> None:
    """A line that is not a step."""
    print(f"{'':10}{text}", file=sys.stderr, flush=True)
