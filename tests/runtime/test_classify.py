"""POST /classify over the real application, with a fake model behind it."""

from typing import Any

import httpx
import numpy as np
import pytest

from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.requests import Encoded, EncodeRequest, Output


@pytest.fixture(autouse=True)
def classifier(fake_model: Any) -> None:
    told = {"outputs": ("score",), "labels": ("joy",)}
    fake_model.info = fake_model.info.model_copy(update=told)


async def test_each_text_has_its_labels(client: httpx.AsyncClient) -> None:
    body = {"model": "minilm", "input": ["a", "aaa"], "raw_scores": True}
    reply = (await client.post("/classify", json=body)).json()
    assert reply["data"] == [
        [{"score": pytest.approx(0.1), "label": "joy"}],
        [{"score": pytest.approx(0.3), "label": "joy"}],
    ]
    assert (reply["object"], reply["usage"]["total_tokens"]) == ("classify", 4)
    (only,) = (await client.post("/classify", json={"input": ["a"]})).json()["data"]
    assert only == [{"score": pytest.approx(0.5249792), "label": "joy"}]


@pytest.mark.parametrize(
    ("body", "scores"),
    [
        ({"input": "a"}, [0.5249792]),
        ({"input": [7, 8]}, [0.549834]),
        ({"input": ["a", "aa"], "use_activation": True}, [0.5249792, 0.549834]),
        ({"input": ["a"], "use_activation": False, "user": "me"}, [0.1]),
    ],
    ids=["text", "token ids", "texts with use_activation", "logits"],
)
async def test_vllm_s_clients_get_vllm_s_reply(
    client: httpx.AsyncClient, body: Any, scores: list[float]
) -> None:
    reply = (await client.post("/classify", json=body)).json()
    assert reply["object"] == "list"
    assert reply["data"] == [
        {"index": index, "label": "joy", "probs": [pytest.approx(score)], "num_classes": 1}
        for index, score in enumerate(scores)
    ]


async def test_probabilities_are_in_the_model_s_order(
    client: httpx.AsyncClient, fake_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def encode(request: EncodeRequest) -> Encoded:
        logits = np.log(np.array([0.2, 0.7, 0.1], np.float32))
        return Encoded(outputs=[Output(score=logits)], tokens=1)

    monkeypatch.setattr(fake_model, "encode", encode)
    fake_model.info = fake_model.info.model_copy(update={"labels": ("joy", "fear", "awe")})
    (only,) = (await client.post("/classify", json={"input": "a"})).json()["data"]
    assert (only["label"], only["num_classes"]) == ("fear", 3)
    assert only["probs"] == pytest.approx([0.2, 0.7, 0.1])
    (best,) = (await client.post("/classify", json={"input": ["a"]})).json()["data"]
    assert [one["label"] for one in best] == ["fear", "joy", "awe"]


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ({"input": []}, 400, "input is empty"),
        ({"input": ["a", ""]}, 400, "input 1 is an empty string"),
        ({"input": "a", "model": "other"}, 404, "have: minilm"),
        ({"text": "a"}, 400, "unknown field `text`"),
    ],
    ids=str,
)
async def test_a_wrong_body_is_refused(
    client: httpx.AsyncClient, body: Any, status: int, problem: str
) -> None:
    reply = await client.post("/classify", json=body)
    assert (reply.status_code, problem in reply.json()["error"]["message"]) == (status, True)


async def test_a_model_without_labels_says_what_it_gives(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    fake_model.failure = InvalidInput("outputs", "minilm gives no score; it gives dense")
    reply = await client.post("/classify", json={"input": "a"})
    assert (reply.status_code, "it gives dense" in reply.text) == (400, True)
