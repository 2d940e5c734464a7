"""What a request calls a model -> the model and the adapter; and what the common address calls a model.

`name`, or `namespace/name` where several namespaces have one of that name; an adapter follows after a colon.
Nothing is guessed: what is not there, or could be two, is refused with what to write.
"""

import difflib
import heapq
import itertools
from collections.abc import Sequence
from functools import lru_cache

from kubeembed_gateway.errors import Refused
from kubeembed_gateway.reading import Key, Model
from kubeembed_gateway.table import Table

#: Names that an error lists at most.
SHOWN = 10
#: Of all names, those compared letter by letter: a thousand take 16 ms, in which nobody is served.
COMPARED = 20


def resolve(table: Table, asked: str) -> tuple[Model, str]:
    """The adapter is empty for the base. Raises Refused."""
    name, colon, adapter = asked.partition(":")
    namespace, slash, bare = name.rpartition("/")
    keys = [key for key in [(namespace, bare)] if key in table.models]
    if not slash:
        keys = table.named(name)
    if not keys:
        raise _unknown(table, asked, bare)
    if len(keys) > 1:
        full = " or ".join(f"{key[0]}/{key[1]}{colon}{adapter}" for key in keys[:SHOWN])
        problem = f"model {name!r} is in {len(keys)} namespaces; write {full}"
        raise Refused(400, "model_ambiguous", problem)
    model = table.models[keys[0]]
    if colon and adapter not in model.adapters:
        have = ", ".join(model.adapters) or "none"
        problem = f"model {name!r} has no adapter {adapter!r}; its adapters: {have}"
        raise Refused(404, "model_not_found", problem)
    return model, adapter


def public_name(table: Table, key: Key) -> str:
    """As a request has to write it."""
    return key[1] if len(table.named(key[1])) == 1 else f"{key[0]}/{key[1]}"


def _unknown(table: Table, asked: str, bare: str) -> Refused:
    """With like names, whatever their case and owner: "BAAI/bge-m3" is near "bge-m3"."""
    names = sorted(public_name(table, key) for key in table.models)
    near = tuple(_near(bare[:253].lower(), names))
    meant = f"; did you mean {near[0]!r}?" if near else "; GET /v1/models lists what is there"
    return Refused(404, "model_not_found", f"there is no model {asked[:253]!r}{meant}", near)


def _near(name: str, names: Sequence[str]) -> list[str]:
    """Three at most, the nearest first. Those with most pairs of letters in common are compared."""
    own = _pairs(name)
    likely = heapq.nlargest(COMPARED, names, key=lambda each: _shared(own, _known_pairs(each)))
    return difflib.get_close_matches(name, likely, n=3, cutoff=0.5)


def _shared(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / (len(one) + len(other) or 1)


def _pairs(name: str) -> frozenset[str]:
    return frozenset(map("".join, itertools.pairwise(name)))


#: Of models' names; what clients ask for is not kept.
_known_pairs = lru_cache(4096)(_pairs)
