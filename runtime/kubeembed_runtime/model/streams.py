"""How many batches a device runs at once, and how many threads each of them computes with.

Two batches with half of a CPU's threads each need no waiting for each other at every product's end, and the
interpreter's part of one goes on beside the other's products. A batch that is alone has all threads.
"""

from collections.abc import Callable

import torch

from kubeembed_runtime.model.bert import Bert
from kubeembed_runtime.model.encoder import Encoder

#: On a CPU of two threads or more. More were not tried.
CPU_STREAMS = 2


def streams(encoder: Encoder, threads: int) -> int:
    """One on a GPU, and where the body keeps something of the running batch, as transformers' models do."""
    if encoder.device.type != "cpu" or not isinstance(encoder.body, Bert):
        return 1
    return min(CPU_STREAMS, threads)


def sharing(threads: int, streams: int) -> Callable[[int, bool], None]:
    """What a device thread calls before each batch: the number holds for the thread that sets it."""

    def prepare(stream: int, alone: bool) -> None:
        share = (threads + streams - 1 - stream) // streams
        torch.set_num_threads(threads if alone else share)

    return prepare
