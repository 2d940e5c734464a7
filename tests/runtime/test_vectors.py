"""The whole way from text to vector against sentence-transformers, on real weights."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from kubeembed_api.document import parse
from kubeembed_runtime.cpus import thread_count
from kubeembed_runtime.model import devices
from kubeembed_runtime.model.encoder import Encoder, load
from kubeembed_runtime.model.tokenizer import Tokenizer
from kubeembed_runtime.requests import Item

Vectors = NDArray[np.float32]

#: 1 - 0.99999, and the rounding of a dot product of unit vectors.
TOLERANCE = 1e-5

SAMPLE = (
    "the search engine ranks passages by meaning rather than by words naïve café über Ångström"
    " поиск документов по смыслу 语义搜索引擎 検索エンジン 의미 검색 البحث الدلالي חיפוש सिमेंटिक खोज"
    " 🚀 👩‍👩‍👧 🇧🇷 e=mc² x₁ 3.14 foo_bar() <br/> https://example.org/a?b=c#d I'm l'été"
)
WORDS = SAMPLE.split(" ")

FIXED = (
    "a",
    ".",
    " ",
    "   \t\n  ",
    "\u00a0",
    "\u200b",
    "\x00",
    "😀",
    "🏳️‍🌈" * 40,
    "é" * 300,
    "x" * 5000,
    "word " * 5000,
    "\n".join(f"line {n}" for n in range(2000)),
    "[CLS] [SEP] [MASK] [PAD]",
    "日本語" * 200,
    "  leading and trailing  ",
    "ÄÖÜ ẞ ﬁ ﬀ Ⅷ ½",
    "a\u0301 e\u0301",
)


@dataclass(frozen=True)
class Side:
    """Ours, with the tokenizer in front; theirs, already run on all texts."""

    encoder: Encoder
    tokenizer: Tokenizer
    texts: Sequence[str]
    reference: Vectors

    def run(self, texts: Sequence[str], dimensions: int | None = None) -> Vectors:
        batch = [Item(ids=one.ids, dimensions=dimensions) for one in self.tokenizer(texts)]
        return np.stack([output.dense for output in self.encoder(batch)])


def varied(count: int) -> list[str]:
    choose = random.Random(7)
    made = [
        choose.choice(" \n").join(choose.choices(WORDS, k=min(90, int(choose.paretovariate(1.1)))))
        for _ in range(count - len(FIXED))
    ]
    texts = [*FIXED, *made]
    choose.shuffle(texts)
    return texts


@pytest.fixture(scope="session")
def sides(minilm: Path, document: Callable[..., dict[str, Any]]) -> Side:
    encoder = load(minilm, parse(document(minilm)), thread_count())
    tokenizer = Tokenizer(minilm, max_tokens=encoder.recipe.max_tokens.value)
    texts = varied(500)
    theirs = SentenceTransformer(str(minilm), device="cpu")
    reference: Vectors = theirs.encode(texts, batch_size=16)
    return Side(encoder, tokenizer, texts, reference)


def assert_alike(ours: Vectors, theirs: Vectors) -> None:
    cosines = (ours * theirs).sum(axis=1)
    assert cosines.min() >= 1 - TOLERANCE, f"worst cosine {cosines.min()} at {cosines.argmin()}"
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


def test_vectors_equal_those_of_sentence_transformers_in_every_batch_size(sides: Side) -> None:
    ours = np.empty_like(sides.reference)
    done, sizes = 0, [*range(1, 32), 4]
    for size in sizes:
        ours[done : done + size] = sides.run(sides.texts[done : done + size])
        done += size
    assert done == 500
    assert_alike(ours, sides.reference)


@pytest.mark.parametrize("size", range(32, 65))
def test_a_batch_of_any_size_keeps_its_order(sides: Side, size: int) -> None:
    """Short texts from all over, in an order of their own."""
    short = [n for n, text in enumerate(sides.texts) if len(text) < 60]
    places = random.Random(size).sample(short, size)
    ours = sides.run([sides.texts[place] for place in places])
    assert_alike(ours, sides.reference[places])


def test_a_vector_does_not_depend_on_its_batch_mates(sides: Side) -> None:
    text = "the search engine ranks passages by meaning"
    alone = sides.run([text])[0]
    mates = random.Random(3)
    for _ in range(10):
        batch = mates.sample(sides.texts, 15)
        place = mates.randrange(16)
        batch.insert(place, text)
        np.testing.assert_allclose(sides.run(batch)[place], alone, atol=1e-6)


@pytest.mark.parametrize("dimensions", [1, 2, 100, 384])
def test_fewer_dimensions_are_cut_before_normalising(sides: Side, dimensions: int) -> None:
    texts = list(sides.texts[:20])
    cut = sides.reference[:20, :dimensions]
    wanted = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    ours = sides.run(texts, dimensions)
    assert ours.shape == (20, dimensions)
    np.testing.assert_allclose(ours, wanted, atol=2e-5)


def test_a_batch_may_mix_dimensions(sides: Side) -> None:
    texts = list(sides.texts[:6])
    wanted = [5, None, 7, 5, 384, 1]
    batch = [
        Item(ids=one.ids, dimensions=dimensions)
        for one, dimensions in zip(sides.tokenizer(texts), wanted, strict=True)
    ]
    for output, text, dimensions in zip(sides.encoder(batch), texts, wanted, strict=True):
        np.testing.assert_allclose(output.dense, sides.run([text], dimensions)[0], atol=1e-5)


@pytest.mark.parametrize(
    "dtype",
    [
        "bfloat16",
        pytest.param(
            "float16",
            marks=pytest.mark.skipif(
                not devices.look(torch.device("cpu")).float16, reason="this CPU has no float16"
            ),
        ),
    ],
)
def test_half_precision_is_close(
    sides: Side, minilm: Path, document: Callable[..., dict[str, Any]], dtype: str
) -> None:
    half = load(minilm, parse(document(minilm, dtype=dtype)), thread_count())
    assert half.dtype == dtype
    texts = list(sides.texts[:12])
    batch = [Item(ids=one.ids) for one in sides.tokenizer(texts)]
    vectors = np.stack([output.dense for output in half(batch)])
    assert vectors.dtype == np.float32
    cosines = (vectors * sides.reference[:12]).sum(axis=1)
    assert cosines.min() >= 0.9995
