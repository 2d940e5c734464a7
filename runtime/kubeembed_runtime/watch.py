"""Where the time of one request goes: tokenizer, queue, device."""

import time

from kubeembed_runtime.requests import Timing


class Watch:
    """Started with the request. `started` is called by the device thread, before the last output is there."""

    def __init__(self) -> None:
        self._begun = self._submitted = time.perf_counter()
        self._queue = 0.0

    def tokenized(self) -> float:
        """Returns the seconds in the tokenizer."""
        self._submitted = time.perf_counter()
        return self._submitted - self._begun

    def started(self, waited: float) -> None:
        self._queue = waited

    def timing(self) -> Timing:
        whole = time.perf_counter() - self._submitted
        tokenize = self._submitted - self._begun
        return Timing(tokenize=tokenize, queue=self._queue, inference=max(0.0, whole - self._queue))
