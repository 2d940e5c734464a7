"""Bounds on what requests take together, and on what a body may be made of: said before it costs anything."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from kubeembed_runtime import sizes
from kubeembed_runtime.api import cohere, openai, sie, structure, tei
from kubeembed_runtime.api.body import SMALL_BODY_BYTES, Bodies, Hold
from kubeembed_runtime.api.contract import Service
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.api.structure import MAX_COMMAS, MAX_CONTAINERS, check_structure
from kubeembed_runtime.errors import BodiesFull, InvalidInput
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.requests import Pair

LARGE = "a" * (2 * SMALL_BODY_BYTES)

#: contract -> path, what it sends, and the status of a refusal.
CALLS: dict[str, tuple[ModuleType, str, Callable[[str], Any], int]] = {
    "openai": (openai, "/v1/embeddings", lambda text: {"model": "minilm", "input": text}, 429),
    "cohere": (
        cohere,
        "/v2/embed",
        lambda text: {"model": "minilm", "texts": [text], "input_type": "search_query"},
        429,
    ),
    "tei": (tei, "/embed", lambda text: {"inputs": text}, 429),
    "sie": (sie, "/v1/encode/minilm", lambda text: {"items": [{"text": text}]}, 503),
}


@pytest.fixture
def bodies() -> Bodies:
    """With room for one large body."""
    return Bodies(most=3 * SMALL_BODY_BYTES)


@pytest.fixture
async def client(lifecycle: Lifecycle, bodies: Bodies) -> AsyncIterator[httpx.AsyncClient]:
    service = Service(lifecycle=lifecycle, metrics=Metrics("0"), bodies=bodies)
    routes = [one for contract, *_ in CALLS.values() for one in contract.routes(service)]
    transport = httpx.ASGITransport(Starlette(routes=routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        yield client


@pytest.mark.parametrize("contract", CALLS)
async def test_bodies_past_their_memory_are_sent_away_until_others_are_answered(
    client: httpx.AsyncClient, bodies: Bodies, fake_model: Any, contract: str
) -> None:
    _, path, body, status = CALLS[contract]
    fake_model.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(client.post(path, json=body(LARGE)))
        while not fake_model.asked:
            await asyncio.sleep(0)
        assert bodies.held > len(LARGE)
        refused = await client.post(path, json=body(LARGE))
        small = group.create_task(client.post(path, json=body("a")))
        while len(fake_model.asked) < 2:
            await asyncio.sleep(0)
        fake_model.gate.set()
    assert (refused.status_code, refused.headers["retry-after"]) == (status, "1")
    assert f"of {bodies.most} that may" in refused.text
    if contract == "sie":
        assert refused.headers["x-sie-error-code"] == "QUEUE_FULL"
    assert (first.result().status_code, small.result().status_code) == (200, 200)
    assert bodies.held == 0
    assert (await client.post(path, json=body(LARGE))).status_code == 200


async def test_what_is_refused_holds_no_memory(client: httpx.AsyncClient, bodies: Bodies) -> None:
    reply = await client.post("/v1/embeddings", content=LARGE)
    assert reply.status_code == 400
    assert bodies.held == 0


def test_a_request_s_share_grows_and_ends() -> None:
    bodies = Bodies(most=100)
    one, other = Hold(bodies), Hold(bodies)
    one.grow(40)
    one.grow(60)
    with pytest.raises(BodiesFull, match="60 bytes are being read or answered, of 100"):
        other.grow(41)
    other.grow(40)
    one.end()
    one.end()
    assert bodies.held == 40


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("[]," * (MAX_CONTAINERS + 1), f"has {MAX_CONTAINERS + 2} lists and objects"),
        ("{}," * MAX_CONTAINERS, f"has {MAX_CONTAINERS + 1} lists and objects"),
        (r'"\\",' * (MAX_COMMAS + 1), f"has {MAX_COMMAS + 2} values"),
    ],
    ids=["lists", "objects", "texts"],
)
async def test_a_body_of_too_many_values_is_refused_before_it_is_decoded(
    values: str, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        await check_structure(f"[{values}1]".encode())


async def test_brackets_and_commas_in_texts_are_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "_BLOCK", 1000)
    texts = ['[{,"' * 1000, '\\"[,\\' * 1000, "é,[" * 1000] * (MAX_COMMAS // 2000)
    assert json.dumps(texts).count(",") > MAX_COMMAS
    await check_structure(json.dumps(texts).encode())
    await check_structure(json.dumps(texts, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    "item", [b"\x80", b"\x81\xa6images\x90", b"\x81\xa8metadata\x80"], ids=["", "media", "metadata"]
)
async def test_millions_of_items_are_refused_before_one_is_made(
    client: httpx.AsyncClient, item: bytes
) -> None:
    count = 1_000_000
    body = b"\x81\xa5items\xdd" + count.to_bytes(4, "big") + item * count
    headers = {"content-type": "application/msgpack"}
    reply = await client.post(
        "/v1/encode/minilm", content=body[: 3 * SMALL_BODY_BYTES], headers=headers
    )
    assert reply.status_code == 400
    assert f"length <= {MAX_CONTAINERS}" in reply.json()["detail"]["message"]


async def test_what_nobody_reads_of_an_item_is_not_decoded(client: httpx.AsyncClient) -> None:
    nested = msgspec.msgpack.encode({"items": [{"text": "a", "metadata": {"a": [[]] * 10_000}}]})
    headers = {"content-type": "application/msgpack"}
    reply = await client.post("/v1/encode/minilm", content=nested, headers=headers)
    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("max_tokens", "chunked", "most"),
    [(256, False, 131_072), (8192, False, 262_144), (256, True, 2**20), (65_536, True, 2**21)],
)
def test_what_a_text_may_have_follows_from_what_the_model_reads(
    max_tokens: int, chunked: bool, most: int
) -> None:
    assert sizes.longest(max_tokens, chunked=chunked) == most


def test_characters_are_counted_and_bounded() -> None:
    assert sizes.count_characters(["abc", [1] * 20, Pair("ab", "c")], 10) == 26
    with pytest.raises(InvalidInput, match="input 1 has 11 characters; at most 10") as refused:
        sizes.count_characters(["a", "b" * 11], 10)
    assert (refused.value.field, refused.value.code) == ("inputs", "input_too_long")
    with pytest.raises(InvalidInput, match="input 0 has 12 characters"):
        sizes.count_characters([Pair("a", "b" * 12)], 10)
