"""Hidden states -> weights of vocabulary entries, in two ways.

`Mlm` (SPLADE): the masked-language-model head says for every token how strongly it stands for every entry; an
entry's weight is its largest over the tokens. The largest is taken before the logarithm, which rises with
it, so tokens x vocabulary is neither transformed nor held: only a window of rows at a time.
`Linear` (BGE-M3): one number per token, the largest over equal ids.
`Routed` (OpenSearch's document models): a document by another head, a query by a table of weights.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from kubeembed_runtime.model.heads.layers import Layer
from kubeembed_runtime.model.heads.tokens import rows
from kubeembed_runtime.model.packing import Batch
from kubeembed_runtime.requests import Item, Sparse

#: Logits that may be held at once, by the kind of device: 32 MiB in float32, 128 MiB in 16 bits.
LOGITS: Mapping[str, int] = {"cpu": 2**23, "cuda": 2**26}

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
        logits: int | None = None,
    ) -> None:
        self.transform, self.decoder = transform, decoder
        self.activation = ACTIVATIONS[activation]
        self.skip = torch.tensor(skip, dtype=torch.long, device=decoder.weight.device)
        budget = logits or LOGITS[decoder.weight.device.type]
        self.window = max(1, budget // decoder.weight.shape[0])

    def __call__(
        self, hidden: Tensor, batch: Batch, items: Sequence[Item], places: Sequence[int]
    ) -> list[Sparse]:
        """hidden: (t, h)."""
        asked = rows(hidden, batch.packing, places)
        ends = list(accumulate(items[place].tokens for place in places))
        return [one for found in self._largest(asked, ends) for one in self._weights(found)]

    def _largest(self, asked: Tensor, ends: Sequence[int]) -> Iterator[Tensor]:
        """The largest logits of each sequence, (n, vocabulary), window by window.

        A sequence that goes on in the next window is carried over, as one row.
        """
        carried: Tensor | None = None
        done = 0
        for begin in range(0, len(asked), self.window):
            logits = self.decoder(self.transform(asked[begin : begin + self.window]))  # (r, v)
            found, at = [], 0
            while done < len(ends) and ends[done] - begin <= len(logits):
                found.append(_larger(logits[at : ends[done] - begin], carried))
                carried, at, done = None, ends[done] - begin, done + 1
            if at < len(logits):
                carried = _larger(logits[at:], carried)
            if found:
                yield torch.stack(found)

    def _weights(self, largest: Tensor) -> list[Sparse]:
        """largest: (n, vocabulary)."""
        weights = self.activation(largest.float()).index_fill_(1, self.skip, 0)
        row, entry = weights.nonzero(as_tuple=True)
        values = weights[row, entry].cpu().numpy()
        counts = np.bincount(row.cpu().numpy(), minlength=len(weights))
        cuts = counts.cumsum()[:-1]
        indices = entry.to(torch.int32).cpu().numpy()
        return [
            Sparse(indices=i, values=v)
            for i, v in zip(np.split(indices, cuts), np.split(values, cuts), strict=True)
        ]


def _larger(logits: Tensor, carried: Tensor | None) -> Tensor:
    """logits: (r, vocabulary); returns (vocabulary,)."""
    largest = logits.amax(0)
    return largest if carried is None else torch.maximum(largest, carried)


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
        kept = (weights > 0) & ~np.isin(ids, self.skip)
        entries, which = np.unique(ids[kept], return_inverse=True)
        largest = np.zeros(len(entries), dtype=np.float32)
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
