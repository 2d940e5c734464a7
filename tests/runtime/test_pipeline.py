import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from kubeembed_runtime import pipeline as room
from kubeembed_runtime.batcher import Batcher
from kubeembed_runtime.errors import InvalidInput, QueueFull, UnknownModel
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.pipeline import Pipeline
from kubeembed_runtime.requests import EncodeRequest, Input, Item, Output


def tokenize(inputs: Sequence[Input]) -> list[Sequence[int]]:
    """One token a letter."""
    return [[len(given)] * len(given) for given in inputs]


def run(items: Sequence[Item]) -> list[Output]:
    return [Output(dense=np.array([item.ids[0]], np.float32)) for item in items]


@pytest.fixture
def pipeline(fake_model: Any) -> Iterator[Pipeline]:
    batcher = Batcher(run, budget=4, capacity=20)
    batcher.start()
    made = Pipeline(info=fake_model.info, tokenize=tokenize, batcher=batcher, threads=1)
    yield made
    made.close()
    assert not made.alive


async def test_outputs_come_in_the_order_of_the_inputs_with_the_tokens_counted(
    pipeline: Pipeline,
) -> None:
    encoded = await pipeline.encode(EncodeRequest(inputs=["four", "one", "a"]))
    assert [output.dense.tolist() for output in encoded.outputs] == [[4], [3], [1]]
    assert encoded.tokens == 8


@pytest.mark.parametrize("dimensions", [0, -1, 4])
async def test_dimensions_that_the_model_does_not_have_are_refused(
    pipeline: Pipeline, dimensions: int
) -> None:
    with pytest.raises(InvalidInput, match="vectors between 1 and 3") as refused:
        await pipeline.encode(EncodeRequest(inputs=["a"], dimensions=dimensions))
    assert refused.value.field == "dimensions"


async def test_too_many_tokens_are_counted_and_refused(pipeline: Pipeline) -> None:
    with pytest.raises(InvalidInput, match="7 tokens in one request; at most 6"):
        await pipeline.encode(EncodeRequest(inputs=["four", "one"], token_limit=6))


async def test_an_adapter_that_is_not_loaded_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(UnknownModel):
        await pipeline.encode(EncodeRequest(inputs=["a"], adapter="legal"))


async def test_more_requests_than_may_be_tokenised_are_refused(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_TOKENIZING", 2)
    requests = [pipeline.encode(EncodeRequest(inputs=["a"])) for _ in range(3)]
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == ["Encoded", "Encoded", "QueueFull"]
    assert isinstance(outcomes[2], QueueFull)
    assert (await pipeline.encode(EncodeRequest(inputs=["a"]))).tokens == 1


async def test_a_lifecycle_with_a_dead_device_is_not_alive(fake_model: Any) -> None:
    lifecycle = Lifecycle("minilm")
    assert lifecycle.alive
    lifecycle.ready(fake_model)
    assert lifecycle.alive
    fake_model.alive = False
    assert not lifecycle.alive
