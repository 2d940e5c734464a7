"""Hidden states -> weights of vocabulary entries, in three ways.

`Mlm` (SPLADE): the masked-language-model head says for every token how strongly it stands for every entry; an
entry's weight is its largest over the tokens. The largest is taken before the logarithm, which rises with
it, so tokens x vocabulary is neither transformed nor held: only a window of rows at a time.
`Linear` (BGE-M3): one number per token, the largest over equal ids.
`Routed` (OpenSearch's document models): a document by another head, a query by a table of weights.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from kubeembed_runtime.model.heads.layers import Layer
from kubeembed_runtime.model.heads.tokens import rows
from kubeembed_runtime.model.packing import Batch
from kubeembed_runtime.requests import Item, Sparse


class Share(NamedTuple):
    """What is computed at once: so many tokens, of so many entries of the vocabulary.

    held: numbers in the largest logits of the sequences that are in work, sequences x vocabulary.
    """

    rows: int
    block: int
    held: int


#: By the kind of device. On a CPU the logits of a share stay in its cache, which makes it 1.3 to 1.9 times as
#: fast as all of the vocabulary at once; a GPU needs more at a time. Held are 32 MiB and 256 MiB.
SHARES: Mapping[str, Share] = {
    "cpu": Share(rows=1024, block=1024, held=2**23),
    "cuda": Share(rows=2048, block=2**15, held=2**26),
}

#: After the largest over the tokens; all of them are 0 for what is below 0.
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "log1p_relu": lambda x: functional.relu(x).log1p(),
    "log1p_log1p_relu": lambda x: functional.relu(x).log1p().log1p(),
}


class Mlm:
    """decoder: (vocabulary, h), bias: (vocabulary,). skip: entries that are left out of every answer."""

    def __init__(
        self,
        *,
        transform: Layer,
        decoder: Layer,
        activation: str,
        skip: Sequence[int] = (),
        share: Share | None = None,
    ) -> None:
        self.transform, self.weight = transform, decoder.weight
        self.bias = None if decoder.bias is None else decoder.bias.float()
        self.activation = ACTIVATIONS[activation]
        self.skip = torch.tensor(skip, dtype=torch.long, device=self.weight.device)
        self.share = share or SHARES[self.weight.device.type]
        self.sequences = max(1, self.share.held // self.weight.shape[0])

    def __call__(
        self, hidden: Tensor, batch: Batch, items: Sequence[Item], places: Sequence[int]
    ) -> list[Sparse]:
        """hidden: (t, h)."""
        asked = rows(hidden, batch.packing, places)
        lengths = [items[place].tokens for place in places]
        found: list[Sparse] = []
        carried: Tensor | None = None
        begin = 0
        for pieces, goes_on in windows(lengths, self.share.rows, self.sequences):
            end = begin + sum(pieces)
            largest = self._largest(self.transform(asked[begin:end]), pieces)
            if carried is not None:
                torch.maximum(largest[0], carried, out=largest[0])
            carried = largest[-1].clone() if goes_on else None
            found += self._weights(largest[:-1] if goes_on else largest)
            begin = end
        return found

    def _largest(self, x: Tensor, pieces: Sequence[int]) -> Tensor:
        """The largest logits of each piece, without the bias, which all its tokens have in common.

        x: (rows, h); returns (pieces, vocabulary) float32.
        """
        largest = x.new_empty((len(pieces), self.weight.shape[0]), dtype=torch.float32)
        block = self.share.block
        for begin in range(0, self.weight.shape[0], block):
            logits = functional.linear(x, self.weight[begin : begin + block])  # (rows, block)
            piece = row = 0
            for length, group in groupby(pieces):
                count = len(list(group))
                alike = logits[row : row + count * length].view(count, length, -1)
                largest[piece : piece + count, begin : begin + block] = alike.amax(1)
                piece, row = piece + count, row + count * length
        return largest

    def _weights(self, largest: Tensor) -> list[Sparse]:
        """largest: (n, vocabulary)."""
        if not len(largest):
            return []
        logits = largest if self.bias is None else largest.add_(self.bias)
        weights = self.activation(logits).index_fill_(1, self.skip, 0)
        row, entry = weights.nonzero(as_tuple=True)
        values = weights[row, entry].cpu().numpy()
        counts = np.bincount(row.cpu().numpy(), minlength=len(weights))
        cuts = counts.cumsum()[:-1]
        indices = entry.to(torch.int32).cpu().numpy()
        return [
            Sparse(indices=i, values=v)
            for i, v in zip(np.split(indices, cuts), np.split(values, cuts), strict=True)
        ]


def windows(lengths: Sequence[int], rows: int, most: int) -> Iterator[tuple[list[int], bool]]:
    """Sequences of these lengths, cut into windows of so many rows and at most so many pieces.

    The pieces lie end to end. True where the last one goes on in the next window.
    """
    pieces: list[int] = []
    room = rows
    for length in lengths:
        left = length
        while left:
            pieces.append(min(left, room))
            left, room = left - pieces[-1], room - pieces[-1]
            if not room or len(pieces) == most:
                yield pieces, left > 0
                pieces, room = [], rows
    if pieces:
        yield pieces, False


class Linear:
    """layer: h -> 1. skip: token ids that are left out (BGE-M3's special tokens)."""

    def __init__(self, *, layer: Layer, activation: str, skip: Sequence[int] = ()) -> None:
        self.layer, self.activation = layer, ACTIVATIONS[activation]
        self.skip = np.asarray(skip, dtype=np.int64)

    def __call__(
        self, hidden: Tensor, batch: Batch, items: Sequence[Item], places: Sequence[int]
    ) -> list[Sparse]:
        """hidden: (t, h)."""
        asked = rows(hidden, batch.packing, places)
        weights = self.activation(self.layer(asked).float()).squeeze(1).cpu().numpy()  # (rows,)
        cuts = list(accumulate(items[place].tokens for place in places))[:-1]
        return [
            self._merged(np.asarray(items[place].ids), part)
            for place, part in zip(places, np.split(weights, cuts), strict=True)
        ]

    def _merged(self, ids: NDArray[np.int64], weights: NDArray[np.float32]) -> Sparse:
        kept = ~(weights <= 0) & ~np.isin(ids, self.skip)  # NaN stays, to be seen
        entries, which = np.unique(ids[kept], return_inverse=True)
        largest = np.zeros(len(entries), dtype=np.float32)
        with np.errstate(invalid="ignore"):
            np.maximum.at(largest, which, weights[kept])
        return Sparse(indices=entries.astype(np.int32), values=largest)


class Routed:
    """weights: (vocabulary,) float32, of a query's tokens. frame: ids that the tokenizer adds to any text."""

    def __init__(
        self, *, documents: Mlm, weights: NDArray[np.float32], frame: Sequence[int] = ()
    ) -> None:
        self.documents, self.weights = documents, weights
        self.frame = np.asarray(frame, dtype=np.int64)

    def __call__(
        self, hidden: Tensor, batch: Batch, items: Sequence[Item], places: Sequence[int]
    ) -> list[Sparse]:
        """hidden: (t, h)."""
        encoded = [place for place in places if items[place].side != "query"]
        found = iter(self.documents(hidden, batch, items, encoded) if encoded else ())
        return [
            self._query(items[place]) if items[place].side == "query" else next(found)
            for place in places
        ]

    def _query(self, item: Item) -> Sparse:
        ids = np.setdiff1d(np.asarray(item.ids), self.frame)
        values = self.weights[ids]
        kept = values > 0
        return Sparse(indices=ids[kept].astype(np.int32), values=values[kept])
