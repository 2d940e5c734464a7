"""A vector or a score that is no number is an error of its own request, and never a null in a reply."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
import torch

from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.batcher import Batcher
from kubeembed_runtime.errors import NotFinite
from kubeembed_runtime.finite import not_finite
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.model.heads.layers import Layer
from kubeembed_runtime.model.heads.sparse import Linear
from kubeembed_runtime.model.packing import batch
from kubeembed_runtime.requests import Item, Output, Sparse
from pipelinekit import without_numbers

#: The device gives no numbers for texts of this length.
BROKEN = "abc"

KINDS = ("dense", "sparse", "multivector", "score")


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda row: ("dense", Output(dense=row)),
        lambda row: ("score", Output(dense=floats(1), score=row)),
        lambda row: ("multivector", Output(multivector=np.stack([floats(1, 1), row]))),
        lambda row: ("tokens", Output(tokens=np.stack([row, floats(1, 1)]))),
        lambda row: (
            "sparse",
            Output(sparse=Sparse(indices=np.arange(2, dtype=np.int32), values=row)),
        ),
    ],
    ids=["dense", "score", "multivector", "tokens", "sparse"],
)
def test_a_kind_with_a_value_that_is_no_number_is_named(make: Any, bad: float) -> None:
    kind, output = make(floats(1, bad))
    assert not_finite(output) == kind
    _, output = make(floats(1, 0))
    assert not_finite(output) is None


def test_large_numbers_and_nothing_at_all_are_numbers() -> None:
    """The squares of the first are none."""
    assert not_finite(Output(dense=floats(3e38, -3e38))) is None
    nothing = np.zeros((0, 4), np.float32)
    assert not_finite(Output(multivector=nothing)) is None


def test_neighbours_in_the_batch_are_answered() -> None:
    sizes: list[int] = []

    def device(items: Any) -> list[Output]:
        sizes.append(len(items))
        return without_numbers(3)(items)

    batcher = Batcher(device, budget=100, capacity=100)
    submitted = [
        batcher.submit([Item(ids=[n] * n) for n in lengths])
        for lengths in ((1, 2), (1, 3), (3,), (4,))
    ]
    batcher.start()
    found = [future.exception(10) for future in submitted]
    assert [type(error) for error in found] == [type(None), NotFinite, NotFinite, type(None)]
    assert "(dense) for text 1 of 2" in str(found[1])
    assert [output.dense.tolist() for output in submitted[0].result()] == [[1, 0], [2, 0]]
    assert (sizes, batcher.alive) == ([6], True)
    batcher.close()


def test_many_such_batches_end_nothing() -> None:
    """They are the input's doing, or the weights'."""
    batcher = Batcher(without_numbers(3), budget=100, capacity=100)
    batcher.start()
    for _ in range(10):
        assert isinstance(batcher.submit([Item(ids=[3] * 3)]).exception(10), NotFinite)
    assert batcher.alive
    batcher.close()


def test_a_sparse_head_does_not_leave_out_what_is_no_number() -> None:
    layer = Layer(weight=torch.ones(1, 2), bias=None)
    hidden = torch.tensor([[1.0, 1.0], [torch.nan, 1.0], [-1.0, -1.0]])
    item = Item(ids=[5, 6, 7], outputs=("sparse",))
    (found,) = Linear(layer=layer, activation="relu")(
        hidden, batch([item], torch.device("cpu")), [item], [0]
    )
    assert found.indices.tolist() == [5, 6]
    assert not_finite(Output(sparse=found)) == "sparse"


@pytest.fixture
async def client(ran: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Of the public application over a pipeline whose device gives no numbers for BROKEN."""
    made = ran(
        {"device": without_numbers(len(BROKEN))},
        outputs=KINDS,
        output_dimensions={"score": 1},
        labels=("joy",),
    )
    lifecycle = Lifecycle("minilm")
    lifecycle.ready(made.pipeline)
    transport = httpx.ASGITransport(public_app(lifecycle, Metrics("0")))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        yield client


SIE = "/v1/encode/minilm"
V2 = {"model": "minilm", "input_type": "search_query"}
REQUESTS: list[tuple[str, Any, int]] = [
    ("/v1/embeddings", {"model": "minilm", "input": ["a", BROKEN]}, 500),
    ("/v1/embeddings", {"model": "minilm", "input": BROKEN, "encoding_format": "base64"}, 500),
    ("/v2/embed", {**V2, "texts": [BROKEN], "embedding_types": ["int8", "binary"]}, 500),
    ("/v1/embed", {"texts": [BROKEN]}, 500),
    ("/embed", {"inputs": [BROKEN]}, 424),
    ("/embed_all", {"inputs": BROKEN}, 424),
    ("/embed_sparse", {"inputs": BROKEN}, 424),
    ("/predict", {"inputs": BROKEN}, 424),
    ("/similarity", {"inputs": {"source_sentence": "a", "sentences": [BROKEN]}}, 424),
    ("/rerank", {"query": "q", "texts": ["a", "bc"]}, 424),
    ("/rerank", {"query": "q", "documents": ["a", "bc"]}, 500),
    ("/v2/rerank", {"query": "q", "documents": ["bc"]}, 500),
    ("/classify", {"input": [BROKEN]}, 500),
    (SIE, {"items": [{"text": BROKEN}], "params": {"output_types": ["sparse"]}}, 500),
    (SIE, {"items": [{"text": BROKEN}], "params": {"output_types": ["multivector"]}}, 500),
    (SIE, {"items": [{"text": BROKEN}], "params": {"output_dtype": "float16"}}, 500),
    ("/v1/score/minilm", {"query": {"text": "q"}, "items": [{"text": "bc"}]}, 500),
]


@pytest.mark.parametrize(("path", "body", "status"), REQUESTS)
async def test_no_contract_sends_what_is_no_number(
    client: httpx.AsyncClient, path: str, body: Any, status: int
) -> None:
    reply = await client.post(path, json=body)
    assert reply.status_code == status
    assert "the model gave NaN or infinity" in reply.text
    # The same for a text that is one letter longer:
    numbers = msgspec.json.encode(body).replace(b"abc", b"abcd").replace(b'bc"', b'bcd"')
    served = await client.post(path, content=numbers, headers={"content-type": "application/json"})
    assert served.status_code == 200
