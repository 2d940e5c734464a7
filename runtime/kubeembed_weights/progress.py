"""Bytes as they arrive -> how far a fetch has come, told as a bar, as log lines or as JSON.

The meter only counts; whoever shows it reads it at a pace of its own.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kubeembed_api.report import Progress

logger = logging.getLogger(__name__)

#: The rate is that of the last seconds: so many samples, this far apart.
SAMPLES, SAMPLE_SECONDS = 20, 0.5
BAR_SECONDS, LOG_SECONDS = 0.2, 5.0
BAR_WIDTH = 30


class Meter:
    """Thread-safe. `bytes` counts what of the copy is here, `fetched` what of it came in this run."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = self.bytes = self.fetched = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES)

    def expect(self, total: int) -> None:
        with self._lock:
            self.total = total
            self._samples.append((self._clock(), self.fetched))

    def found(self, size: int) -> None:
        """So many bytes were here already; negative when they turned out to be of no use."""
        with self._lock:
            self.bytes += size

    def add(self, size: int) -> None:
        with self._lock:
            self.bytes += size
            self.fetched += size
            now = self._clock()
            if not self._samples or now - self._samples[-1][0] >= SAMPLE_SECONDS:
                self._samples.append((now, self.fetched))

    def read(self) -> Progress:
        with self._lock:
            rate = 0.0
            if self._samples:
                then, before = self._samples[0]
                rate = (self.fetched - before) / max(self._clock() - then, 1e-3)
            return Progress(bytes=self.bytes, total=self.total, rate=round(rate, 1))


@contextmanager
def shown(meter: Meter) -> Iterator[None]:
    """Tells a person how far it has come while the body runs: a bar on a terminal, else log lines."""
    tty = sys.stderr.isatty()
    done = threading.Event()
    tell, seconds = (_draw, BAR_SECONDS) if tty else (_log, LOG_SECONDS)

    def keep_telling() -> None:
        while not done.wait(seconds):
            tell(meter.read())

    teller = threading.Thread(target=keep_telling, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
        if tty and meter.total:
            _draw(meter.read())
            sys.stderr.write("\n")


def _draw(progress: Progress) -> None:
    if progress.total:
        filled = BAR_WIDTH * progress.bytes // progress.total
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        sys.stderr.write(f"\r{bar} {_words(progress)}\x1b[K")
        sys.stderr.flush()


def _log(progress: Progress) -> None:
    if progress.total:
        logger.info("%s", _words(progress))


def _words(progress: Progress) -> str:
    percent = 100 * progress.bytes // progress.total
    done, total = size(progress.bytes), size(progress.total)
    return f"{percent} % ({done} of {total}, {size(progress.rate)}/s)"


def size(count: float) -> str:
    """For people: 90868376 -> '90.9 MB'. Decimal, as the hub's pages and most tools count."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
