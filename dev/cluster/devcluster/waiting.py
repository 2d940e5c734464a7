"""Waiting for something to become true, with an end."""

import time
from collections.abc import Callable

from devcluster.errors import TimedOut

INTERVAL_S = 0.05


def wait_until(what: str, seconds: float, true: Callable[[], bool]) -> None:
    """Raises TimedOut naming WHAT when it is not TRUE in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimedOut(f"waited {seconds:g} s in vain for {what}")
        time.sleep(INTERVAL_S)
