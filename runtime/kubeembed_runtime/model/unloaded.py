"""Adapters that are no longer loaded and that queued requests still hold: their memory is bounded, too."""

import logging
import threading
import time
import weakref

from kubeembed_runtime.model.lora import LoraAdapter

logger = logging.getLogger(__name__)

#: Requests let go of what they hold as the queue runs. If they do not, a load does not wait forever.
WAIT_SECONDS = 10.0

_LOOK_SECONDS = 0.002


class Unloaded:
    """From any thread. max_bytes, max_count: of what is held while another may still be loaded."""

    def __init__(self, *, max_bytes: int, max_count: int) -> None:
        self._max_bytes, self._max_count = max_bytes, max_count
        self._lock = threading.Lock()
        self._left: list[weakref.ref[LoraAdapter]] = []

    def add(self, adapter: LoraAdapter | None) -> None:
        """It has lost its place; None had none."""
        if adapter is not None:
            with self._lock:
                self._left.append(weakref.ref(adapter))

    def wait(self) -> None:
        """Until what is held leaves room for another, or has long not been let go of."""
        end = time.monotonic() + WAIT_SECONDS
        while self._full():
            if time.monotonic() > end:
                logger.warning("requests hold unloaded adapters for %g s; loading", WAIT_SECONDS)
                return
            time.sleep(_LOOK_SECONDS)

    def _full(self) -> bool:
        with self._lock:
            self._left = [left for left in self._left if left() is not None]
            sizes = [held.bytes for left in self._left if (held := left()) is not None]
        return len(sizes) > self._max_count or sum(sizes) > self._max_bytes
