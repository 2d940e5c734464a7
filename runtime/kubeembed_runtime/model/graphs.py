"""Small packed batches on a GPU, replayed as CUDA graphs: one launch per batch instead of one per kernel.

Below a few thousand tokens a GPU is done before the host has launched the next kernel, so most of a small
batch's time is launches. A graph has fixed shapes: a batch is put into the smallest size that holds it, and
the rows that are left over belong to no sequence. Which sizes are replayed is measured at the start.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from kubeembed_runtime.model.devices import RIGHT, sample, worst_cosine
from kubeembed_runtime.model.fused import Fused
from kubeembed_runtime.model.packing import Batch, Packing, batch

logger = logging.getLogger(__name__)

#: Tokens of the sizes. Above the last one a batch takes longer to compute than to launch, or nearly.
SIZES = (16, 32, 64, 128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096)

#: The longest sequence of the sizes that are for many short ones.
SHORT = 128

#: A graph is kept if it is so many times as fast: below that its memory is not worth it.
GAIN = 1.1

#: Calls of which the shortest counts, each of them launched and waited for.
CALLS = 4

Run = Callable[[], Tensor]

#: (a batch), and `adapted` where that is made beforehand -> hidden states.
Body = Callable[..., Tensor]

#: How many tokens -> what adapters of so many add, none yet; None where such batches are launched.
Room = Callable[[int], Fused | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a graph holds at most."""

    tokens: int
    sequences: int
    longest: int

    def holds(self, given: Batch) -> bool:
        """Batches with token types are launched."""
        packing = given.packing
        return (
            given.ids.numel() <= self.tokens
            and len(packing.lengths) <= self.sequences
            and packing.longest <= self.longest
            and packing.seen is None
            and given.kinds is None
        )


def sizes(limit: int) -> list[Size]:
    """From small to large, for a model that reads sequences of up to `limit` tokens.

    A sequence that is not there still costs a look for each head and block of queries, so a size is either
    for many short sequences or for few long ones.
    """
    found = []
    for tokens in SIZES:
        short = min(tokens, SHORT, limit)
        found.append(Size(tokens=tokens, sequences=tokens // 8, longest=short))
        if (longest := min(tokens, limit)) > short:
            found.append(Size(tokens=tokens, sequences=tokens // 64, longest=longest))
    return found


class Graph:
    """A body's call at one size. fused: None for batches without adapters."""

    def __init__(
        self,
        body: Body,
        size: Size,
        device: torch.device,
        record: "Record",
        fused: Fused | None = None,
    ) -> None:
        self.size, self._fused = size, fused
        self._given = _empty(size, device)
        run = body if fused is None else partial(body, adapted=fused)
        self._replay, self._hidden = record(lambda: run(self._given))

    def holds(self, given: Batch) -> bool:
        """Is there room for it, and for its adapters?"""
        if self._fused is None:
            return not given.spans and self.size.holds(given)
        return self.size.holds(given) and self._fused.holds(given.spans)

    def __call__(self, given: Batch) -> Tensor:
        """As the body itself: (t, h)."""
        if self._fused is not None:
            self._fused.replace(given.spans)
        tokens, ends = given.ids.numel(), given.packing.cumulative
        static = self._given
        static.ids[:tokens].copy_(given.ids)
        static.positions[:tokens].copy_(given.positions)
        static.packing.cumulative[: ends.numel()].copy_(ends)
        static.packing.cumulative[ends.numel() :].fill_(tokens)
        self._replay()
        return self._hidden[:tokens].clone()


def _empty(size: Size, device: torch.device) -> Batch:
    """A batch of one sequence of that many tokens, with room for more."""
    ends = torch.full((size.sequences + 1,), size.longest, dtype=torch.int32, device=device)
    ends[0] = 0
    packing = Packing(lengths=(size.longest,), runs=(), cumulative=ends, seen=None)
    ids, positions = torch.zeros(2, size.tokens, dtype=torch.int64, device=device)
    return Batch(ids=ids, positions=positions, kinds=None, packing=packing, spans=())


#: Runs it, and gives what runs it again and what it wrote: the same tensor each time.
Record = Callable[[Run], tuple[Callable[[], object], Tensor]]


def recorder() -> Record:
    """Records CUDA graphs. They share memory, since one at a time is replayed and read."""
    pool = torch.cuda.graph_pool_handle()

    def record(run: Run) -> tuple[Callable[[], object], Tensor]:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()  # what is set up lazily may not be recorded
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            hidden = run()
        return graph.replay, hidden

    return record


def seconds(run: Run) -> float:
    """The shortest of a few calls, each waited for."""
    found = []
    for _ in range(CALLS):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        run()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - begun)
    return min(found)


class Replayed:
    """A body whose small batches are replayed where that was found right and faster; called like it."""

    def __init__(self, body: Body, graphs: Sequence[Graph], adapted: Sequence[Graph]) -> None:
        """From small to large. adapted: those of batches with adapters."""
        self._body, self.graphs, self.adapted = body, tuple(graphs), tuple(adapted)

    def __call__(self, given: Batch) -> Tensor:
        """Returns (t, h)."""
        for graph in self.adapted if given.spans else self.graphs:
            if graph.holds(given):
                return graph(given)
        return self._body(given)


@torch.inference_mode()
def replayed(
    body: Body,
    *,
    vocabulary: int,
    limit: int,
    device: torch.device,
    record: Record,
    room: Room = lambda tokens: None,
    timed: Callable[[Run], float] = seconds,
) -> Replayed:
    """Tries every size, the largest first, which takes the memory that the others share."""
    begun = time.monotonic()
    kept: list[Graph] = []
    gains: list[float] = []
    wanted = sizes(limit)
    for size in reversed(wanted):
        try:
            graph = Graph(body, size, device, record)
        except RuntimeError as error:  # this model does what no graph may
            logger.info("not replayed as CUDA graphs: %s", str(error).splitlines()[0])
            break
        given = batch(sample(vocabulary, list(_lengths(size))), device)
        if _same(body(given), graph(given), given):
            gains.append(timed(partial(body, given)) / timed(partial(graph, given)))
            if gains[-1] >= GAIN:
                kept.append(graph)
    adapted = _adapted(body, kept, device, record, room)
    if kept:
        logger.info(
            "replays %d of %d sizes, up to %d tokens, as CUDA graphs: up to %.1f times as fast; %.1f s",
            len(kept),
            len(wanted),
            max(graph.size.tokens for graph in kept),
            max(gains),
            time.monotonic() - begun,
        )
    return Replayed(body, kept[::-1], adapted[::-1])


def _adapted(
    body: Body, plain: Sequence[Graph], device: torch.device, record: Record, room: Room
) -> list[Graph]:
    """Of the same sizes: they launch one kernel more per layer."""
    found = []
    for size in (graph.size for graph in plain):
        if (fused := room(size.tokens)) is not None:
            found.append(Graph(body, size, device, record, fused))
    return found


def _lengths(size: Size) -> Iterator[int]:
    """Sequences as long as the size allows, one of them shorter, and a few tokens left over."""
    left, count = size.tokens - 3, size.sequences
    while left > 0 and count > 0:
        length = min(left, size.longest - 1)
        yield length
        left, count = left - length, count - 1


def _same(alone: Tensor, again: Tensor, given: Batch) -> bool:
    """Rounding may differ: matrix products of other sizes add up in another order."""
    return worst_cosine(alone.float(), again.float(), given.packing.lengths) >= RIGHT
