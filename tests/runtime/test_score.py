"""POST /score and /v1/score over the real application, with a fake model behind it."""

from typing import Any

import httpx
import pytest

from kubeembed_runtime.errors import DeviceFailed, InvalidInput, QueueFull

PATHS = ["/score", "/v1/score"]


def gives(fake_model: Any, *outputs: str) -> None:
    fake_model.info = fake_model.info.model_copy(update={"outputs": outputs})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("one", "other"),
    [("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items")],
)
async def test_pairs_are_scored_in_their_order(
    client: httpx.AsyncClient, fake_model: Any, path: str, one: str, other: str
) -> None:
    gives(fake_model, "score")
    reply = (await client.post(path, json={one: "q", other: ["a", "a" * 20]})).json()
    assert len(reply.pop("id")) == 32
    assert reply.pop("created") > 0
    assert reply == {
        "object": "list",
        "model": "minilm",
        "data": [
            {"index": 0, "object": "score", "score": pytest.approx(0.5249792)},
            {"index": 1, "object": "score", "score": pytest.approx(0.8807971)},
        ],
        "usage": {"prompt_tokens": 21, "total_tokens": 21},
    }


@pytest.mark.parametrize(
    ("ones", "others", "query"),
    [
        ("q", "a", "q"),
        (["q"], ["a", "b"], "q"),
        (["q", "r"], ["a", "b"], ["q", "r"]),
    ],
    ids=["one and one", "one and many", "pairs"],
)
async def test_what_is_asked_for_reaches_the_model(
    client: httpx.AsyncClient, fake_model: Any, ones: Any, others: Any, query: Any
) -> None:
    gives(fake_model, "score")
    fake_model.adapters = ("legal",)
    body = {"text_1": ones, "text_2": others, "model": "minilm:legal"}
    more = {"truncate_prompt_tokens": -1, "use_activation": False, "priority": 0, "user": "me"}
    reply = (await client.post("/score", json=body | more)).json()
    (asked,) = fake_model.scored
    assert (asked.query, asked.adapter, asked.raw) == (query, "legal", True)
    assert (asked.truncate, asked.token_limit) == ("right", 300_000)
    assert [one["score"] for one in reply["data"]] == pytest.approx([0.1] * len(others))
    assert reply["model"] == "minilm:legal"


async def test_a_multi_vector_model_gives_max_sim(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    gives(fake_model, "dense", "multivector")
    reply = await client.post("/score", json={"text_1": "q", "text_2": "a" * 20})
    assert [one["score"] for one in reply.json()["data"]] == [2.0]


@pytest.mark.parametrize(
    ("ones", "scores"), [("aa", [6.0, 18.0]), (["a", "aa"], [3.0, 18.0])], ids=["one", "pairs"]
)
async def test_an_embedding_model_gives_cosines(
    client: httpx.AsyncClient, fake_model: Any, ones: Any, scores: list[float]
) -> None:
    """The fake model normalises nothing."""
    reply = await client.post("/score", json={"text_1": ones, "text_2": ["b", "ccc"]})
    assert [one["score"] for one in reply.json()["data"]] == scores
    (asked,) = fake_model.asked
    assert (asked.outputs, asked.normalize) == (("dense",), True)


WRONG: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "nothing": ({}, None, "the body has none of the texts' fields; send queries and documents;"),
    "half": ({"text_1": "a"}, None, "the body has text_1 of the texts' fields"),
    "mixed": ({"text_1": "a", "data_2": "b"}, None, "the body has data_2 and text_1 of"),
    "three": ({"text_1": "a", "text_2": "b", "items": "c"}, None, "items and text_1 and text_2"),
    "lengths": ({"text_1": ["a", "b"], "text_2": ["c"]}, None, "text_1 has 2 texts and text_2 1"),
    "empty": ({"text_1": "a", "text_2": []}, None, "text_2 is empty"),
    "empty text": ({"queries": "a", "items": ["b", ""]}, None, "text 1 of items is empty"),
    "many": ({"queries": "a", "items": ["b"] * 2049}, None, "items has 2049 entries; at most 2048"),
    "type": ({"text_1": 5, "text_2": "a"}, "text_1", "Expected `str | array | null`, got `int`"),
    "field": ({"text_1": "a", "text_2": "b", "colour": 1}, "colour", "unknown field `colour`"),
    "tokens": (
        {"text_1": "a", "text_2": "b", "truncate_prompt_tokens": 9},
        "truncate_prompt_tokens",
        "Invalid enum value 9",
    ),
}


@pytest.mark.parametrize(("body", "param", "problem"), WRONG.values(), ids=WRONG)
async def test_a_wrong_body_is_refused(
    client: httpx.AsyncClient, body: Any, param: str | None, problem: str
) -> None:
    reply = await client.post("/score", json=body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["param"], problem in error["message"]) == (param, True)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (QueueFull(9, 9, 2.0), 429),
        (DeviceFailed("it broke"), 500),
        (InvalidInput("outputs", "minilm gives 3 labels for a pair"), 400),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@pytest.mark.parametrize("output", ["dense", "score"])
async def test_what_fails(
    client: httpx.AsyncClient, fake_model: Any, output: str, failure: Exception, status: int
) -> None:
    gives(fake_model, output)
    fake_model.failure = failure
    reply = await client.post("/v1/score", json={"text_1": "a", "text_2": "b"})
    assert (reply.status_code, reply.json()["error"]["message"]) == (status, str(failure))


async def test_an_unknown_model_is_404(client: httpx.AsyncClient) -> None:
    body = {"text_1": "a", "text_2": "b", "model": "other"}
    reply = await client.post("/score", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (404, "model")
