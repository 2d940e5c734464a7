"""How far the asking has come: a bar on a terminal, lines in a log, both on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

LINE_SECONDS = 5.0


@contextmanager
def shown(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """Gives what to call with each number of `what` that is done."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=what, file=sys.stderr, dynamic_ncols=True) as bar:
            yield bar.update
    else:
        yield Lines(what, total).add


class Lines:
    """The first when it begins, the last when all is done, between them one every few seconds."""

    def __init__(self, what: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self.total, self.done = what, total, 0
        self._clock = clock
        self._tell()

    def add(self, count: int) -> None:
        self.done += count
        if self.done >= self.total or self._clock() - self._told >= LINE_SECONDS:
            self._tell()

    def _tell(self) -> None:
        self._told = self._clock()
        percent = 100 * self.done // self.total
        print(
            f"{self.what}: {self.done} of {self.total} ({percent} %)", file=sys.stderr, flush=True
        )
