"""Requests for many adapters at once, through the pipeline and the batcher as a pod has them."""

import asyncio
import gc
import random
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from kubeembed_api.document import parse
from kubeembed_runtime.loading import load
from kubeembed_runtime.pipeline import Pipeline
from kubeembed_runtime.requests import BatchRun, EncodeRequest
from lorakit import FAMILIES, QUERY_VALUE, Vectors, bge_m3, flat, strong, tuned
from runtimekit import document

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.usefixtures("one_thread"),  # which sets back what a pipeline sets
]

ADAPTERS = 6


@dataclass(kw_only=True)
class Served:
    """A pipeline, the names of its adapters, and what its device ran."""

    pipeline: Pipeline
    names: list[str]
    runs: list[BatchRun] = field(default_factory=list)

    async def ask(self, texts: list[str], adapter: str | None) -> list[Vectors]:
        outputs = self.pipeline.info.outputs
        request = EncodeRequest(inputs=texts, adapter=adapter, outputs=outputs)
        return [flat(output) for output in (await self.pipeline.encode(request)).outputs]


def saved(name: str, folder: Path) -> dict[str, Any]:
    """The model with a tokenizer of 100 words in the folder. Returns its recipe, as documents have it."""
    if name == "bge-m3":
        bge_m3(folder)
    else:
        strong(FAMILIES[name].make(), 0).save_pretrained(folder)
    words = Tokenizer(WordLevel({f"w{n}": n for n in range(100)}, unk_token="w0"))
    words.pre_tokenizer = WhitespaceSplit()
    words.save(str(folder / "tokenizer.json"))
    told = '{"tokenizer_class": "PreTrainedTokenizerFast"}'
    (folder / "tokenizer_config.json").write_text(told)
    pooling = "cls" if name == "bge-m3" else "mean"
    return {"pooling": pooling, "normalize": True, "maxTokens": 60}


@pytest.fixture(params=["bert", "bge-m3", "modernbert", "t5"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Two threads: where the body bears it, two batches run at once."""
    name, base, runs = request.param, tmp_path / "base", list[BatchRun]()
    recipe = saved(name, base)
    family = FAMILIES.get(name)
    auto = {"auto": family.auto} if family else {}
    loaded = load(parse(document(base, **recipe)), tmp_path / "cache", 2, observe=runs.append)
    for seed in range(1, ADAPTERS + 1):
        config = {"target_modules": list(family.some if family else QUERY_VALUE), "r": 2 + seed % 3}
        folder = tuned(base, tmp_path / str(seed), seed, **auto, **config)
        loaded.pipeline.registry.put(f"a{seed}", folder).result()
    names = [f"a{seed}" for seed in range(1, ADAPTERS + 1)]
    yield Served(pipeline=loaded.pipeline, names=names, runs=runs)
    loaded.pipeline.close()


def texts(choose: random.Random, count: int) -> list[str]:
    """Of different lengths, some of them alike."""
    return [
        " ".join(f"w{choose.randrange(5, 100)}" for _ in range(choose.choice([1, 3, 3, 8, 20, 50])))
        for _ in range(count)
    ]


async def test_texts_of_many_adapters_asked_at_once_give_what_each_gives_alone(
    served: Served,
) -> None:
    choose = random.Random(3)
    known = texts(choose, 8)
    alone: dict[tuple[str, str | None], Vectors] = {}
    for adapter in (None, *served.names):
        for text in known:
            [alone[text, adapter]] = await served.ask([text], adapter)
    assert all_differ(alone, known)
    served.runs.clear()
    asked = [
        (choose.choices(known, k=choose.randint(1, 6)), choose.choice([None, *served.names]))
        for _ in range(150)
    ]
    answers = await asyncio.gather(*(served.ask(*one) for one in asked))
    for (wanted, adapter), answer in zip(asked, answers, strict=True):
        for text, found in zip(wanted, answer, strict=True):
            np.testing.assert_allclose(found, alone[text, adapter], atol=1e-5)
    assert max(len(run.tokens) for run in served.runs) > 3  # adapters were mixed in batches


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Only what nothing refers to is gone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
async def test_nothing_holds_an_adapter_once_its_requests_are_answered(served: Served) -> None:
    """A load would wait for what is held, and memory with it."""
    registry = served.pipeline.registry
    living = []
    for name in served.names:
        await served.ask(["w5 w6", "w7"], name)
        living.append(weakref.ref(registry.find(name)))
        registry.remove(name).result()
    await asyncio.sleep(0.1)  # the device thread has answered, and then goes on to wait
    held = [name for name, left in zip(served.names, living, strict=True) if left() is not None]
    assert held in ([], served.names[-1:])  # a body of transformers keeps what it ran last


def all_differ(alone: dict[tuple[str, str | None], Vectors], known: list[str]) -> bool:
    """Is it visible in any text by which adapter it was encoded?"""
    for text in known:
        vectors = [found for (one, _), found in alone.items() if one == text]
        for place, one in enumerate(vectors):
            if any(np.abs(one - other).max() < 1e-3 for other in vectors[:place]):
                return False
    return True
