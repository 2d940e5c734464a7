"""Device threads with a stream of the GPU each -> bodies that run one after another there."""

import threading
from contextlib import AbstractContextManager

import torch


class Turn(AbstractContextManager[None]):
    """What is launched within it runs after what was launched within it before, whichever stream that was on.

    So the first of two batches is done first, CUDA graphs can share their memory, and what comes after a
    batch's turn, the copies to the host, goes on beside the next one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def __enter__(self) -> None:
        self._lock.acquire()
        torch.cuda.current_stream().wait_event(self._last)

    def __exit__(self, *_: object) -> None:
        self._last.record()
        self._lock.release()
