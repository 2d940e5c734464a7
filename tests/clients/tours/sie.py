"""sie-sdk, sync and async: MINILM_URL M3_URL LOADING_URL, the last of a process just started."""

import asyncio
import sys
from typing import Any

import numpy as np
from sie_sdk import SIEAsyncClient, SIEClient
from sie_sdk.client.errors import (
    InputTooLongError,
    ModelLoadFailedError,
    PoolError,
    RequestError,
    SIEError,
)
from sie_sdk.scoring import maxsim

TEXTS = ("wing flutter at high speed", "a recipe for bread", "flutter of an aircraft's wing")
ITEMS: list[Any] = [{"id": f"doc-{index}", "text": text} for index, text in enumerate(TEXTS)]
ALL = ["dense", "sparse", "multivector"]


def fails(kind: type[SIEError], code: str | None, said: str, call: Any, **arguments: Any) -> None:
    check(caught(call, **arguments), kind, code, said)


def caught(call: Any, **arguments: Any) -> SIEError:
    try:
        call(**arguments)
    except SIEError as error:
        return error
    raise AssertionError(f"no error for {arguments}")


def check(error: SIEError, kind: type[SIEError], code: str | None, said: str) -> None:
    assert isinstance(error, kind), repr(error)
    assert said in str(error), str(error)
    assert code is None or getattr(error, "code", None) == code, repr(error)


def loading(url: str) -> None:
    """The first call of all: nothing may listen yet, then MODEL_LOADING, then vectors."""
    with SIEClient(url) as client:
        result = client.encode("minilm", {"text": "early"})
        assert result["dense"].shape == (384,)
        print("waited for the model, retries:", client.last_retry_count)


def encode(client: SIEClient) -> None:
    one = client.encode("minilm", {"id": "a", "text": TEXTS[0]})
    assert (one["id"], one["model"], one["dense"].dtype) == ("a", "minilm", np.float32)
    assert abs(float(np.linalg.norm(one["dense"])) - 1) < 1e-5
    assert one["timing"]["total_ms"] > 0
    assert one["timing"]["inference_ms"] > 0
    assert one["request"]["id"]
    results = client.encode("minilm", ITEMS)
    assert [result["id"] for result in results] == ["doc-0", "doc-1", "doc-2"]
    near, far = (float(results[0]["dense"] @ results[i]["dense"]) for i in (2, 1))
    assert near > 0.8 > 0.3 > far, (near, far)


def dtypes(client: SIEClient) -> None:
    whole = client.encode("minilm", ITEMS[0])["dense"]
    shapes = {"float32": 384, "float16": 384, "int8": 384, "uint8": 384, "binary": 48}
    kinds = {"binary": "uint8"}
    for dtype, size in shapes.items():
        dense = client.encode("minilm", ITEMS[0], output_dtype=dtype)["dense"]
        assert (dense.shape, dense.dtype) == ((size,), np.dtype(kinds.get(dtype, dtype))), dtype
    assert np.array_equal(dense, np.packbits(whole > 0))
    cut = client.encode("minilm", ITEMS[0], options={"dimensions": 64})["dense"]
    assert np.allclose(cut, whole[:64] / np.linalg.norm(whole[:64]), atol=1e-5)


def every_kind(client: SIEClient) -> None:
    results = client.encode("m3", ITEMS, output_types=ALL)
    for result, alone in zip(results, (client.encode("m3", item) for item in ITEMS), strict=True):
        assert np.allclose(result["dense"], alone["dense"], atol=1e-4)
        sparse = result["sparse"]
        assert (sparse["indices"].dtype, sparse["values"].dtype) == (np.int32, np.float32)
        assert len(sparse["indices"]) == len(sparse["values"]) > 0
        assert result["multivector"].shape[1] == 32
        assert len(result["multivector"]) > 2
    half = client.encode("m3", ITEMS[0], output_types=["multivector"], output_dtype="float16")
    assert half["multivector"].dtype == np.float16


def scores(client: SIEClient) -> None:
    found = client.score("m3", {"id": "q", "text": TEXTS[0]}, ITEMS)
    assert (found["model"], found["query_id"]) == ("m3", "q")
    assert [entry["rank"] for entry in found["scores"]] == [0, 1, 2]
    numbers = [entry["score"] for entry in found["scores"]]
    assert numbers == sorted(numbers, reverse=True)
    query = client.encode("m3", ITEMS[0], output_types=["multivector"], is_query=True)
    documents = client.encode("m3", ITEMS, output_types=["multivector"])
    theirs = maxsim(query["multivector"], [one["multivector"] for one in documents])
    given = {
        entry["item_id"]: entry["score"] * len(query["multivector"]) for entry in found["scores"]
    }
    assert np.allclose([given[item["id"]] for item in ITEMS], theirs, atol=1e-3), (given, theirs)
    fails(RequestError, "INVALID_INPUT", "has images", client.score, model="m3",
          query={"images": [b"\x89PNG\r\n\x1a\n"]}, items=ITEMS)  # fmt: skip


def sides(client: SIEClient) -> None:
    """The document gives queries a prompt, and documents none."""
    query = client.encode("m3", ITEMS[0], is_query=True)["dense"]
    same = client.encode("m3", {"text": f"query: {TEXTS[0]}"})["dense"]
    other = client.encode("m3", ITEMS[0], is_query=False)["dense"]
    told = client.encode("m3", ITEMS[0], instruction="query: ")["dense"]
    assert np.allclose(query, same, atol=1e-6)
    assert np.allclose(told, same, atol=1e-6)
    assert not np.allclose(query, other, atol=1e-4)


def adapters(client: SIEClient) -> None:
    base = client.encode("m3", ITEMS[0])["dense"]
    ways = (
        client.encode("m3", ITEMS[0], options={"lora_id": "legal"}),
        client.encode("m3", ITEMS[0], options={"profile": "legal"}),
        client.encode("m3:legal", ITEMS[0]),
    )
    assert all(np.array_equal(way["dense"], ways[0]["dense"]) for way in ways)
    assert not np.allclose(ways[0]["dense"], base, atol=1e-3)
    for option in ("lora_id", "profile"):
        fails(RequestError, "INVALID_INPUT", "is 'other'; allowed: ", client.encode, model="m3",
              items=ITEMS[0], options={option: "other"})  # fmt: skip
    assert client.score("m3", ITEMS[0], ITEMS, options={"lora_id": "legal"})["scores"]


def models(client: SIEClient) -> None:
    (only,) = client.list_models()
    assert (only["name"], only["loaded"], only["inputs"]) == ("m3", True, ["text"])
    assert only["outputs"] == ["dense", "sparse", "multivector"]
    assert (only["dims"]["dense"], only["dims"]["multivector"]) == (32, 32)
    assert set(only["profiles"]) == {"default", "legal", "broken"}
    assert client.get_model("m3")["max_sequence_length"] == only["max_sequence_length"]
    assert client.get_model("m3:legal")["name"] == "m3:legal"
    fails(RequestError, None, "not served here", client.get_model, model="other")
    capacity = client.get_capacity()
    assert (capacity["status"], capacity["worker_count"]) == ("healthy", 1)


def errors(client: SIEClient) -> None:
    encode = client.encode
    fails(RequestError, "MODEL_NOT_FOUND", "did you mean 'm3'", encode, model="BAAI/bge-m3",
          items=ITEMS)  # fmt: skip
    fails(InputTooLongError, "INPUT_TOO_LONG", "the model reads", encode, model="m3",
          items={"text": "long " * 600}, options={"truncate": "refuse"})  # fmt: skip
    fails(RequestError, "INVALID_INPUT", "has images", encode, model="m3",
          items={"images": [b"\x89PNG\r\n\x1a\n"]})  # fmt: skip
    fails(RequestError, "INVALID_INPUT", "allowed: dense, multivector, sparse", encode, model="m3",
          items=ITEMS, output_types=["colbert"])  # fmt: skip
    fails(RequestError, "INVALID_INPUT", "does not extract", client.extract, model="m3",
          items=ITEMS, labels=["person"])  # fmt: skip
    fails(ModelLoadFailedError, "MODEL_LOAD_FAILED", "adapter_config.json", encode,
          model="m3:broken", items=ITEMS)  # fmt: skip
    fails(PoolError, None, "there are no pools here", client.create_pool, name="mine")
    assert client.get_pool("mine") is None
    assert client.delete_pool("mine") is False


async def asynchronous(minilm: str, m3: str) -> None:
    async with SIEAsyncClient(minilm) as client:
        results = await asyncio.gather(*(client.encode("minilm", item) for item in ITEMS * 10))
        assert len(results) == 30
        assert all(result["dense"].shape == (384,) for result in results)
    async with SIEAsyncClient(m3) as client:
        whole = await client.encode("m3", ITEMS, output_types=ALL, is_query=True)
        assert all({"dense", "sparse", "multivector"} <= set(result) for result in whole)
        found = await client.score("m3", ITEMS[0], ITEMS)
        assert [entry["rank"] for entry in found["scores"]] == [0, 1, 2]
        assert [one["name"] for one in await client.list_models()] == ["m3"]
        assert (await client.get_model("m3"))["loaded"] is True
        wrong = asyncio.gather(
            client.encode("m3", ITEMS[0], options={"lora_id": "other"}), return_exceptions=True
        )
        (error,) = await wrong
        check(error, RequestError, "INVALID_INPUT", "is 'other'; allowed: ")


def main(minilm: str, m3: str, starting: str) -> None:
    loading(starting)
    with SIEClient(minilm) as client:
        encode(client)
        dtypes(client)
    with SIEClient(m3) as client:
        for part in (every_kind, scores, sides, adapters, models, errors):
            part(client)
    asyncio.run(asynchronous(minilm, m3))


main(*sys.argv[1:])
