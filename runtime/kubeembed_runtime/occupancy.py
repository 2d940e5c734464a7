"""Which streams of a device run batches, whether another may begin, and whether it is alone.

A stream takes a batch only while all before it are busy: lone batches are the first one's, and the others
never ask OpenMP for all threads, which would be too many to spin while they wait.

A batch beside one that will end soon is no smaller than that: several clients' requests would else run one by
one, and small batches cost most for their size.
"""

from kubeembed_runtime.usage import Rate


class Occupancy:
    """Not safe across threads by itself: the batcher's lock is. waiting: tokens in the queue.

    beside: so many have to wait before a batch is taken while another runs; or as many as run, where these
    take no longer than `patience` seconds.
    """

    def __init__(self, streams: int, *, beside: int, patience: float, rate: Rate) -> None:
        self._streams, self._rate = range(streams), rate
        self._beside, self._patience = beside, patience
        self._tokens: dict[int, int] = {}  # of each stream's batch
        self._crowded = False  # a request has come while another was there

    @property
    def busy(self) -> bool:
        return bool(self._tokens)

    @property
    def free(self) -> int | None:
        """The first stream that is."""
        return next((stream for stream in self._streams if stream not in self._tokens), None)

    def comes(self, waiting: int) -> None:
        """A request, before it is one of those that wait."""
        self._crowded |= self.busy or waiting > 0

    def due(self, stream: int, waiting: int, *, closing: bool) -> bool:
        """May this one, which is free, take a batch? closing: nothing comes any more."""
        if self.free != stream:  # that one was told
            return False
        if not self.busy or closing:
            return True
        running = min(self._tokens.values())
        soon = running <= self._patience * self._rate.per_second
        return waiting >= (max(self._beside, running) if soon else self._beside)

    def begin(self, stream: int, tokens: int, waiting: int) -> bool:
        """Is its batch alone? One of several clients is now and then: the next would wait for its threads."""
        nobody = not self.busy and not waiting
        alone = nobody and not self._crowded
        self._crowded &= not nobody
        self._tokens[stream] = tokens
        return alone

    def end(self, stream: int) -> None:
        del self._tokens[stream]
