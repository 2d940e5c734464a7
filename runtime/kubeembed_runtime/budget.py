"""How many tokens a batch may have: halved for want of memory, doubled again when that may be over."""

import logging

from kubeembed_runtime.errors import OutOfMemory

logger = logging.getLogger(__name__)

#: So many good batches after which a budget that was halved for want of memory doubles again: what was full
#: may have been a neighbour's doing, and if it was not, one batch in so many is run twice.
BATCHES_TO_GROW = 100


class Budget:
    """Not safe across threads by itself: the batcher's lock is."""

    def __init__(self, tokens: int) -> None:
        self.tokens = self._whole = tokens
        self._successes = 0

    def shrink(self, error: OutOfMemory, used: int) -> None:
        """used: that of the batch which had no memory. Streams that fail together halve theirs once."""
        self._successes = 0
        self.tokens = min(self.tokens, max(1, used // 2))
        logger.warning("%s; batches of %d tokens from here on", error, self.tokens)

    def grow(self) -> None:
        """After a batch that went well."""
        if self.tokens == self._whole:
            return
        self._successes += 1
        if self._successes >= BATCHES_TO_GROW:
            self._successes = 0
            self.tokens = min(self._whole, self.tokens * 2)
            logger.info("batches of %d tokens again", self.tokens)
