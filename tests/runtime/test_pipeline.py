import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from kubeembed_runtime import pipeline as room
from kubeembed_runtime.batcher import Batcher
from kubeembed_runtime.errors import (
    AdapterRefused,
    DeadlineExceeded,
    InvalidInput,
    QueueFull,
    UnknownModel,
)
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.pipeline import Pipeline
from kubeembed_runtime.prompts import Prompts
from kubeembed_runtime.requests import (
    Chunk,
    Chunking,
    EncodeRequest,
    Input,
    Item,
    Output,
    Prompting,
    ScoreRequest,
    Token,
)
from kubeembed_runtime.tokens import Framing, Tokens
from pipelinekit import Legal, Registry, Words, run, tokenize


@pytest.fixture
def pipeline(ran: Any) -> Pipeline:
    made: Pipeline = ran().pipeline
    return made


async def test_outputs_come_in_the_order_of_the_inputs_with_the_tokens_counted(
    pipeline: Pipeline,
) -> None:
    encoded = await pipeline.encode(EncodeRequest(inputs=["four", "one", "a"]))
    assert [output.dense.tolist() for output in encoded.outputs] == [[4, 0], [3, 0], [1, 0]]
    assert (encoded.tokens, encoded.chunks, encoded.fingerprint) == (8, None, None)


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
    with pytest.raises(UnknownModel, match="minilm:medical"):
        await pipeline.encode(EncodeRequest(inputs=["a"], adapter="medical"))


async def test_more_requests_than_may_be_tokenised_are_refused(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_TOKENIZING", 2)
    monkeypatch.setattr(room, "INLINE_CHARACTERS", 0)
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


async def test_an_item_carries_all_that_was_asked_for(ran: Any) -> None:
    made = ran({"prompts": Prompts(query="Q: ")}, outputs=("dense", "multivector"))
    request = EncodeRequest(
        inputs=["ab"],
        outputs=("multivector", "dense"),
        prompting=Prompting(side="query"),
        dimensions=2,
    )
    encoded = await made.pipeline.encode(request)
    assert made.items == [
        Item(
            ids=[5] * 5,
            outputs=("multivector", "dense"),
            dimensions=2,
            side="query",
            prompt_tokens=3,
        )
    ]
    assert encoded.outputs[0].multivector.shape == (5, 9)


async def test_the_first_output_of_the_model_is_the_default(ran: Any) -> None:
    made = ran(outputs=("multivector", "dense"))
    await made.pipeline.encode(EncodeRequest(inputs=["a"]))
    assert made.items[0].outputs == ("multivector",)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "output": (
        {"outputs": ("sparse", "dense", "score")},
        "outputs",
        "minilm gives no sparse, score; it gives dense, multivector",
    ),
    "prompt": ({"prompting": Prompting(prompt_name="q")}, "prompt", "no prompt 'q'"),
    "dimensions without dense": (
        {"outputs": ("multivector",), "dimensions": 2},
        "dimensions",
        "are of dense vectors",
    ),
    "mean of multi-vectors": (
        {"outputs": ("multivector",), "chunking": Chunking(tokens=2, pooled=True)},
        "chunking",
        "only dense vectors",
    ),
}


@pytest.mark.parametrize(("asked", "field", "said"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_the_model_does_not_offer_is_refused_by_the_field(
    ran: Any, asked: dict[str, Any], field: str, said: str
) -> None:
    made = ran(outputs=("dense", "multivector"))
    with pytest.raises(InvalidInput, match=said) as refused:
        await made.pipeline.encode(EncodeRequest(inputs=["a"], **asked))
    assert refused.value.field == field
    assert made.items == []


async def test_chunks_come_with_their_places(ran: Any) -> None:
    request = EncodeRequest(inputs=["abcde", "x"], chunking=Chunking(tokens=2))
    encoded = await ran().pipeline.encode(request)
    assert encoded.chunks == [Chunk(0, 0, 2), Chunk(0, 2, 4), Chunk(0, 4, 5), Chunk(1, 0, 1)]
    assert [output.dense[0] for output in encoded.outputs] == [2, 2, 1, 1]


@pytest.mark.parametrize(
    ("normalize", "expected"), [(False, [(2 * 2 + 2 * 2 + 1) / 5, 0]), (True, [1, 0])]
)
async def test_pooled_chunks_are_the_mean_by_tokens(
    ran: Any, normalize: bool, expected: list[float]
) -> None:
    request = EncodeRequest(inputs=["abcde", "x"], chunking=Chunking(tokens=2, pooled=True))
    encoded = await ran(normalize=normalize).pipeline.encode(request)
    assert encoded.chunks is None
    np.testing.assert_allclose(encoded.outputs[0].dense, expected, rtol=1e-6)
    assert encoded.outputs[0].dense.dtype == np.float32
    assert encoded.outputs[1].dense.tolist() == [1, 0]
    assert encoded.tokens == 6


async def test_a_cross_encoder_scores_each_pair(ran: Any) -> None:
    made = ran({"prompts": Prompts(query="Q")}, outputs=("score",), output_dimensions={"score": 1})
    scored = await made.pipeline.score(ScoreRequest(query="ab", documents=["x", "yyy"]))
    assert scored.scores.tolist() == [1, 3]
    assert scored.scores.dtype == np.float32
    assert [item.ids for item in made.items] == [[3, 3, 3, 7], [3, 3, 3, 7, 7, 7]]
    assert scored.tokens == 10


@pytest.mark.parametrize(("mean", "expected"), [(False, [1, 2]), (True, [0.5, 1])])
async def test_late_interaction_scores_by_maxsim(
    ran: Any, mean: bool, expected: list[float]
) -> None:
    made = ran({"mean_maxsim": mean}, outputs=("dense", "multivector"))
    scored = await made.pipeline.score(ScoreRequest(query="ab", documents=["x", "yyy"]))
    assert scored.scores.tolist() == expected
    assert [item.side for item in made.items] == ["query", "document", "document"]


@pytest.mark.parametrize(
    ("info", "scores", "tokens"),
    [
        ({"outputs": ("score",), "output_dimensions": {"score": 1}}, [1, 3], 8),
        ({"outputs": ("multivector",)}, [1, 3], 8),
    ],
    ids=["cross-encoder", "late interaction"],
)
async def test_a_query_for_each_document(ran: Any, info: Any, scores: Any, tokens: int) -> None:
    made = ran(**info)
    scored = await made.pipeline.score(ScoreRequest(query=["a", "bcd"], documents=["x", "yyy"]))
    assert scored.scores.tolist() == scores
    assert scored.scores.dtype == np.float32
    assert scored.tokens == tokens


async def test_no_documents_have_no_scores(ran: Any) -> None:
    made = ran(outputs=("multivector",))
    scored = await made.pipeline.score(ScoreRequest(query="ab", documents=[]))
    assert scored.scores.tolist() == []


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"outputs": ("dense", "sparse")}, "minilm scores no pairs; it gives dense, sparse"),
        (
            {"outputs": ("score",), "output_dimensions": {"score": 3}},
            "minilm gives 3 labels for a pair, which rank nothing",
        ),
    ],
    ids=["dense", "labels"],
)
async def test_a_model_that_cannot_rank_says_what_it_gives(
    ran: Any, info: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        await ran(**info).pipeline.score(ScoreRequest(query="a", documents=["b"]))
    assert refused.value.field == "outputs"


@pytest.mark.parametrize("name", ["legal", "slow"])
async def test_an_adapter_travels_with_the_items_and_leaves_its_mark(ran: Any, name: str) -> None:
    registry = Registry()
    made = ran({"adapters": registry}, outputs=("dense", "multivector"))
    assert made.pipeline.adapters == ("legal", "slow")
    encoding = asyncio.ensure_future(
        made.pipeline.encode(EncodeRequest(inputs=["a"], adapter=name))
    )
    await asyncio.sleep(0)
    registry.loading.set_result(Legal())
    assert (await encoding).fingerprint == "beef"
    scored = await made.pipeline.score(ScoreRequest(query="a", documents=["b"], adapter=name))
    assert scored.fingerprint == "beef"
    assert [type(item.adapter) for item in made.items] == [Legal] * 3


async def test_a_load_that_others_wait_for_outlives_a_caller_who_left(ran: Any) -> None:
    registry = Registry()
    made = ran({"adapters": registry})
    leaving, staying = (
        asyncio.ensure_future(made.pipeline.encode(EncodeRequest(inputs=["a"], adapter="slow")))
        for _ in range(2)
    )
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    registry.loading.set_exception(AdapterRefused("no"))
    with pytest.raises(AdapterRefused):
        await staying
    assert leaving.cancelled()


@pytest.mark.parametrize(
    ("letters", "prompt", "inline"),
    [(256, 0, True), (257, 0, False), (1, 256, False)],
    ids=["short", "longer", "with its instruction"],
)
async def test_only_a_short_text_is_tokenised_by_the_event_loop(
    fake_model: Any, letters: int, prompt: int, inline: bool
) -> None:
    threads = list[threading.Thread]()

    def record(inputs: Sequence[Input], framing: Framing) -> list[Tokens]:
        threads.append(threading.current_thread())
        return tokenize(inputs, framing)

    batcher = Batcher(run, budget=4, capacity=20)
    batcher.start()
    made = Pipeline(
        info=fake_model.info,
        tokenize=record,
        vocabulary=Words(),
        batcher=batcher,
        threads=1,
        adapters=Registry(),
    )
    prompting = Prompting(instruction="i" * prompt) if prompt else Prompting()
    await made.encode(EncodeRequest(inputs=["a" * letters], prompting=prompting))
    made.close()
    assert [thread is threading.current_thread() for thread in threads] == [inline]


async def test_a_long_request_is_tokenised_behind_nobody_else_s_back(
    ran: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LONG_CHARACTERS", 10)
    monkeypatch.setattr(room, "INLINE_CHARACTERS", 0)
    gate, begun = threading.Event(), threading.Event()

    def slow(inputs: Sequence[Input], framing: Framing) -> list[Tokens]:
        if len(inputs) > 1:
            begun.set()
            assert gate.wait(20)
        return tokenize(inputs, framing)

    made = ran({"tokenize": slow}).pipeline
    long = asyncio.create_task(made.encode(EncodeRequest(inputs=["abcdef", "ghijkl"])))
    await asyncio.to_thread(begun.wait, 20)
    assert (await made.encode(EncodeRequest(inputs=["a"]))).tokens == 1
    assert not long.done()
    gate.set()
    assert (await long).tokens == 12


@pytest.mark.parametrize(
    ("ask", "most"),
    [
        (lambda made, text: made.encode(EncodeRequest(inputs=["a", text])), 131_072),
        (lambda made, text: made.tokenize(["a", text]), 131_072),
        (
            lambda made, text: made.encode(
                EncodeRequest(inputs=["a", text], chunking=Chunking(tokens=1))
            ),
            2**20,
        ),
    ],
    ids=["encode", "tokenize", "chunks"],
)
async def test_a_text_that_is_too_long_to_be_read_is_refused(
    pipeline: Pipeline, ask: Any, most: int
) -> None:
    with pytest.raises(InvalidInput, match=f"input 1 has {most + 1} characters; at most {most}"):
        await ask(pipeline, "a" * (most + 1))


async def test_a_document_that_is_too_long_to_be_read_is_refused(ran: Any) -> None:
    made = ran(outputs=("score",)).pipeline
    for query, document in (("a" * 131_073, "a"), ("a", "a" * 131_073)):
        with pytest.raises(InvalidInput, match="has 131073 characters; at most 131072"):
            await made.score(ScoreRequest(query=query, documents=[document]))


async def test_a_text_of_no_tokens_is_refused(pipeline: Pipeline) -> None:
    """It would be given what lies beside it in a batch."""
    with pytest.raises(InvalidInput, match="input 1 has no tokens: send a text that has some"):
        await pipeline.encode(EncodeRequest(inputs=["a", ""]))


@pytest.mark.parametrize(
    ("prompt", "inputs", "said"),
    [
        (131_073, 1, "the prompt or instruction has 131073 characters; at most 131072"),
        (131_072, 129, "of 131072 characters before each of 129 inputs; at most 16777216"),
    ],
    ids=["long", "before many"],
)
async def test_an_instruction_is_bounded_as_the_texts_are(
    pipeline: Pipeline, prompt: int, inputs: int, said: str
) -> None:
    asked = EncodeRequest(inputs=["a"] * inputs, prompting=Prompting(instruction="i" * prompt))
    with pytest.raises(InvalidInput, match=said) as refused:
        await pipeline.encode(asked)
    assert refused.value.field == "prompt"


async def test_a_deadline_is_kept_while_the_device_goes_on(ran: Any) -> None:
    gate = threading.Event()

    def slow(items: Sequence[Item]) -> list[Output]:
        assert gate.wait(20)
        return run(items)

    made = ran({"device": slow})
    late = EncodeRequest(inputs=["a"], deadline=time.monotonic() + 0.05)
    try:
        with pytest.raises(DeadlineExceeded, match="before the device was done"):
            await made.pipeline.encode(late)
    finally:
        gate.set()
    assert (await made.pipeline.encode(EncodeRequest(inputs=["ab"]))).tokens == 2


async def test_a_request_that_is_late_when_it_is_tokenised_is_not_run(ran: Any) -> None:
    made = ran()
    with pytest.raises(DeadlineExceeded, match="before the device was asked"):
        await made.pipeline.encode(EncodeRequest(inputs=["a"], deadline=time.monotonic() - 1))
    await made.pipeline.encode(EncodeRequest(inputs=["ab"]))
    assert [item.tokens for item in made.items] == [2]


async def test_a_request_that_is_late_in_the_queue_leaves_it_unrun(ran: Any) -> None:
    gate, begun = threading.Event(), threading.Event()

    def slow(items: Sequence[Item]) -> list[Output]:
        begun.set()
        assert gate.wait(20)
        return run(items)

    made = ran({"device": slow})
    first = asyncio.create_task(made.pipeline.encode(EncodeRequest(inputs=["a"])))
    try:
        assert await asyncio.to_thread(begun.wait, 20)
        late = EncodeRequest(inputs=["late"], deadline=time.monotonic() + 0.05)
        with pytest.raises(DeadlineExceeded):
            await made.pipeline.encode(late)
        assert made.batcher.waiting_tokens == 0
    finally:
        gate.set()
    await first
    await made.pipeline.encode(EncodeRequest(inputs=["ab"]))
    assert [item.tokens for item in made.items] == [1, 2]


async def test_the_time_of_a_request_is_told(ran: Any) -> None:
    seen: list[tuple[str, float]] = []
    observed = {"observe": lambda adapter, seconds: seen.append((adapter, seconds))}
    pipeline = ran(observed, outputs=("dense", "score")).pipeline
    encoded = await pipeline.encode(EncodeRequest(inputs=["four"]))
    scored = await pipeline.score(ScoreRequest(query="a", documents=["b"]))
    for timing in (encoded.timing, scored.timing):
        assert min(timing.tokenize, timing.queue, timing.inference) > 0
    assert seen == [("", encoded.timing.tokenize), ("", scored.timing.tokenize)]


async def test_token_states_are_there_beside_what_the_recipe_gives(ran: Any) -> None:
    with pytest.raises(InvalidInput, match="minilm gives no tokens; it gives score"):
        await ran(outputs=("score",)).pipeline.encode(
            EncodeRequest(inputs=["a"], outputs=("tokens",))
        )
    model = ran()
    await model.pipeline.encode(EncodeRequest(inputs=["a"], outputs=("tokens",), normalize=False))
    assert [(item.outputs, item.normalize) for item in model.items] == [(("tokens",), False)]


async def test_tokens_and_texts_are_for_whoever_asks(ran: Any) -> None:
    pipeline = ran().pipeline
    assert await pipeline.tokenize(["é"]) == [[Token(233, "é", False, 0, 1)]]
    assert await pipeline.decode([[104, 105]]) == ["hi"]
