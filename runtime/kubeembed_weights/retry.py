"""A request that broke off is asked again at once, a few times; every other failure is the caller's.

Spacing out whole attempts is not done here: in a cluster kubelet does it, on a laptop the person.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from kubeembed_weights.errors import BrokenOff

logger = logging.getLogger(__name__)

#: A source of ours that sends nothing for so long is asked again. The hub has a variable of its own.
STALL_SECONDS = "KUBEEMBED_STALL_SECONDS"

PAUSES = (0.2, 0.5, 1.0)  # seconds before the second, third and fourth time

T = TypeVar("T")


def stall_seconds(environ: Mapping[str, str]) -> float:
    return float(environ.get(STALL_SECONDS) or 30)


def patiently(ask: Callable[[], T], wait: Callable[[float], object] = time.sleep) -> T:
    """Raises the last BrokenOff."""
    for pause in PAUSES:
        try:
            return ask()
        except BrokenOff as broken:
            logger.warning("%s; asking again in %s s", broken, pause)
            wait(pause)
    return ask()
