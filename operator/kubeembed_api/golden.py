"""Golden vectors: texts, and the vectors that a model is to give for them. Kept in a ConfigMap.

`kubeembed golden` writes them, a roll-out reads them. A key for the base and one for each adapter that is
held to some, a line of JSON for each text; the vector is base64 of little-endian float32, as OpenAI's
contract has it, so that nothing is lost by rounding.
"""

import base64
import hashlib
import json
import math
import operator
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.names import GROUP, MODEL_LABEL

GOLDEN_KEY: Final = "golden.jsonl"
ADAPTER_KEY: Final = re.compile(r"golden\.([a-z0-9-]+)\.jsonl")
DIMENSIONS_ANNOTATION: Final = f"{GROUP}/dimensions"
FINGERPRINT_ANNOTATION: Final = f"{GROUP}/fingerprint"
#: JSON: {adapter: fingerprint}.
ADAPTERS_ANNOTATION: Final = f"{GROUP}/adapter-fingerprints"

#: Kubernetes' bound on what a ConfigMap holds.
LIMIT_BYTES: Final = 1_048_576

T = TypeVar("T")

Side = Literal["query", "document"]
Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenText:
    """side: None for a text that is neither query nor document. vector: (dimensions,) float32."""

    text: str
    side: Side | None
    vector: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenAdapter:
    """fingerprint: of the vector space that the vectors are of."""

    fingerprint: str
    texts: tuple[GoldenText, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """fingerprint: of the vector space that the base's vectors are of. adapters: those of each, by name."""

    model: str
    dimensions: int
    fingerprint: str
    texts: tuple[GoldenText, ...]
    adapters: Mapping[str, GoldenAdapter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """Which golden vectors are meant: 16 hex digits of the model's, and of these with all adapters'."""

    base: str
    every: str


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    side: Side | None = None
    vector: str


def adapter_key(adapter: str) -> str:
    """The key of an adapter's golden vectors."""
    return f"golden.{adapter}.jsonl"


def digests(data: Mapping[str, str]) -> Digests:
    """Of the keys of a ConfigMap, or of the files that they are to a pod. Others than golden ones don't
    count; what is not there has a digest as well."""
    told = {
        key: text for key, text in data.items() if key == GOLDEN_KEY or ADAPTER_KEY.fullmatch(key)
    }
    base = {key: text for key, text in told.items() if key == GOLDEN_KEY}
    return Digests(base=_digest(base), every=_digest(told))


def golden_config_map(golden: Golden, name: str, namespace: str) -> dict[str, Any]:
    """The ConfigMap. Raises InvalidSpec where it would be too large, saying how many texts fit."""
    texts = {GOLDEN_KEY: golden.texts}
    texts |= {adapter_key(adapter): told.texts for adapter, told in golden.adapters.items()}
    marks = {adapter: told.fingerprint for adapter, told in golden.adapters.items()}
    of_adapters = {ADAPTERS_ANNOTATION: json.dumps(marks, sort_keys=True)} if marks else {}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "annotations": {
                DIMENSIONS_ANNOTATION: str(golden.dimensions),
                FINGERPRINT_ANNOTATION: golden.fingerprint,
                **of_adapters,
            },
            "labels": {MODEL_LABEL: golden.model},
            "name": name,
            "namespace": namespace,
        },
        "data": _bounded({key: [*map(_line, each)] for key, each in texts.items()}, name),
    }


def read_golden(config_map: Mapping[str, Any]) -> Golden:
    """Raises InvalidSpec that names the ConfigMap, and the line or annotation at fault."""
    metadata = config_map["metadata"]
    where = f"ConfigMap {metadata['name']}"
    annotations = metadata.get("annotations") or {}
    text = (config_map.get("data") or {}).get(GOLDEN_KEY)
    if not text:
        raise InvalidSpec(where, f"has no key {GOLDEN_KEY}; `kubeembed golden` writes it")
    dimensions = annotations.get(DIMENSIONS_ANNOTATION, "")
    if not dimensions.isdecimal():
        problem = f"annotation {DIMENSIONS_ANNOTATION} is {dimensions!r}; write a number"
        raise InvalidSpec(where, problem)
    return Golden(
        model=(metadata.get("labels") or {}).get(MODEL_LABEL, ""),
        dimensions=int(dimensions),
        fingerprint=annotations.get(FINGERPRINT_ANNOTATION, ""),
        texts=read_texts(text, where, int(dimensions)),
        adapters=_adapters(config_map, where, int(dimensions)),
    )


def read_texts(text: str, where: str, dimensions: int | None = None) -> tuple[GoldenText, ...]:
    """The lines of the key. dimensions: of all vectors, where that is known.

    Raises InvalidSpec that says `where`, and which line.
    """
    lines = text.removesuffix("\n").split("\n")  # at nothing else: texts may have U+2028 in them
    return tuple(_read(line, f"{where}, line {n}", dimensions) for n, line in enumerate(lines, 1))


def grouped(
    items: Iterable[T], characters: Callable[[T], int], most: int, most_characters: int
) -> Iterator[list[T]]:
    """What is asked for at a time, in order: at most so many, of so many characters; one at least."""
    some: list[T] = []
    total = 0
    for item in items:
        size = characters(item)
        if some and (len(some) == most or total + size > most_characters):
            yield some
            some, total = [], 0
        some.append(item)
        total += size
    if some:
        yield some


def cosine(one: Vector, other: Vector) -> float:
    """Of two vectors of one length; 0 where one of them is zero."""
    length = math.hypot(*one) * math.hypot(*other)
    return sum(map(operator.mul, one, other)) / length if length else 0.0


def packed(vector: Vector) -> str:
    """float32 numbers -> base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def unpacked(text: str) -> Vector:
    """Raises ValueError for what is no base64 of whole float32 numbers."""
    raw = base64.b64decode(text, validate=True)
    if len(raw) % 4:
        raise ValueError(f"{len(raw)} bytes are no whole number of float32")
    return struct.unpack(f"<{len(raw) // 4}f", raw)


def _digest(data: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def _line(one: GoldenText) -> str:
    said = {"text": one.text} | ({} if one.side is None else {"side": one.side})
    return json.dumps(said | {"vector": packed(one.vector)}, ensure_ascii=False) + "\n"


def _adapters(
    config_map: Mapping[str, Any], where: str, dimensions: int
) -> dict[str, GoldenAdapter]:
    annotations, data = config_map["metadata"]["annotations"], config_map["data"]
    marks = json.loads(annotations.get(ADAPTERS_ANNOTATION, "{}"))
    found = {match[1]: text for key, text in data.items() if (match := ADAPTER_KEY.fullmatch(key))}
    return {
        adapter: GoldenAdapter(
            fingerprint=marks.get(adapter, ""),
            texts=read_texts(text, f"{where}, adapter {adapter}", dimensions),
        )
        for adapter, text in found.items()
    }


def _bounded(lines: Mapping[str, Sequence[str]], name: str) -> dict[str, str]:
    """By key, as one text."""
    total = 0
    every = [line for each in lines.values() for line in each]
    for place, line in enumerate(every):
        total += len(line.encode())
        if total > LIMIT_BYTES:
            of = "these" if len(lines) == 1 else f"the model's and {len(lines) - 1} adapters'"
            problem = f"holds {LIMIT_BYTES} bytes, which is {place} of {of} {len(every)} texts; send fewer"
            raise InvalidSpec(f"ConfigMap {name}", problem)
    return {key: "".join(each) for key, each in lines.items()}


def _read(line: str, where: str, dimensions: int | None) -> GoldenText:
    try:
        told = _Line.model_validate_json(line)
        vector = unpacked(told.vector)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "JSON"
        raise InvalidSpec(where, f"{field}: {first['msg']}") from error
    except ValueError as error:  # binascii's as well
        raise InvalidSpec(where, f"vector: {error}") from error
    if not all(map(math.isfinite, vector)):
        raise InvalidSpec(where, "vector: has a value that is no number")
    if dimensions is not None and len(vector) != dimensions:
        problem = f"vector has {len(vector)} dimensions; {DIMENSIONS_ANNOTATION} says {dimensions}"
        raise InvalidSpec(where, problem)
    return GoldenText(text=told.text, side=told.side, vector=vector)
