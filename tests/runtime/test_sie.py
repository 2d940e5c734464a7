"""SIE's contract over the real application, with a fake model behind it."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from fakekit import FakeModel
from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.body import MAX_BODY_BYTES
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.errors import (
    AdapterRefused,
    DeadlineExceeded,
    DeviceFailed,
    InvalidInput,
    OutOfMemory,
    QueueFull,
)
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.requests import (
    EncodeRequest,
    Input,
    Output,
    Prompting,
    ScoreRequest,
    Sparse,
    Timing,
)

ENCODE = "/v1/encode/bge"
SCORE = "/v1/score/bge"
MSGPACK = {"content-type": "application/msgpack", "accept": "application/msgpack"}
TIMING = Timing(tokenize=0.001, queue=0.002, inference=0.003)
INFO: dict[str, Any] = {
    "name": "bge",
    "dimensions": 3,
    "max_tokens": 256,
    "outputs": ("dense", "sparse", "multivector", "score"),
    "output_dimensions": {"sparse": 100, "multivector": 2, "score": 1},
    "dtype": "float32",
    "device": "cpu",
    "fingerprint": "f00d",
}


@dataclass
class Every(FakeModel):
    """Gives every kind; the vector of a text is its length, 0 and minus its length."""

    info: RuntimeInfo = field(default_factory=lambda: RuntimeInfo(**INFO))
    adapters: tuple[str, ...] = ("legal", "medical")
    timing: Timing = TIMING

    def output(self, request: EncodeRequest, given: Input) -> Output:
        size = len(given)
        vector = np.array([size, 0, -size], np.float32)
        indices, weights = np.array([5, 9], np.int32), np.array([0.5, size], np.float32)
        return Output(
            dense=vector if "dense" in request.outputs else None,
            sparse=Sparse(indices=indices, values=weights) if "sparse" in request.outputs else None,
            multivector=np.stack([vector, vector / 2])
            if "multivector" in request.outputs
            else None,
        )


@pytest.fixture
def model() -> Every:
    return Every()


@pytest.fixture
def lifecycle(model: Any) -> Lifecycle:
    lifecycle = Lifecycle("bge")
    lifecycle.ready(model)
    return lifecycle


async def packed(client: httpx.AsyncClient, path: str, body: Any) -> Any:
    reply = await client.post(path, content=msgspec.msgpack.encode(body), headers=MSGPACK)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/msgpack"
    return msgspec.msgpack.decode(reply.content)


def array(sent: Any) -> NDArray[Any]:
    """What the SDK makes of it: nothing else than these keys, and those in binary, is an array."""
    assert set(sent) == {b"nd", b"type", b"kind", b"shape", b"data"}
    assert (sent[b"nd"], sent[b"kind"]) == (True, b"")
    return np.frombuffer(sent[b"data"], sent[b"type"]).reshape(sent[b"shape"])


async def test_a_reply_in_msgpack_has_arrays_with_binary_keys(client: httpx.AsyncClient) -> None:
    kinds = ["dense", "sparse", "multivector"]
    body = {"items": [{"id": "a", "text": "one"}], "params": {"output_types": kinds}}
    reply = await packed(client, ENCODE, body)
    (item,) = reply.pop("items")
    assert array(item["dense"].pop("values")).tolist() == [3, 0, -3]
    assert array(item["sparse"].pop("indices")).tolist() == [5, 9]
    assert array(item["sparse"].pop("values")).tolist() == [0.5, 3]
    assert array(item["multivector"].pop("values")).tolist() == [[3, 0, -3], [1.5, 0, -1.5]]
    assert item == {
        "id": "a",
        "dense": {"dims": 3, "dtype": "float32"},
        "sparse": {"dims": 100, "dtype": "float32"},
        "multivector": {"token_dims": 3, "num_tokens": 2, "dtype": "float32"},
    }
    assert reply.pop("timing").keys() == {
        "total_ms",
        "queue_ms",
        "tokenization_ms",
        "inference_ms",
        "postprocessing_ms",
    }
    assert reply == {"model": "bge", "usage": {"input_tokens": 3}}


async def test_a_reply_in_json_has_lists(client: httpx.AsyncClient) -> None:
    reply = await client.post(ENCODE, json={"items": [{"text": "one"}, {"id": "b", "text": "a"}]})
    assert reply.status_code == 200
    assert reply.json()["items"] == [
        {"dense": {"dims": 3, "dtype": "float32", "values": [3.0, 0.0, -3.0]}},
        {"id": "b", "dense": {"dims": 3, "dtype": "float32", "values": [1.0, 0.0, -1.0]}},
    ]


@pytest.mark.parametrize(
    ("sent", "accept", "given"),
    [
        ("application/json", "application/msgpack", "application/msgpack"),
        ("application/msgpack", "application/json", "application/json"),
        ("application/msgpack", "*/*", "application/msgpack"),
        ("application/x-msgpack", "*/*", "application/msgpack"),
        ("application/json; charset=utf-8", "*/*", "application/json"),
    ],
)
async def test_the_reply_is_in_what_the_client_reads(
    client: httpx.AsyncClient, sent: str, accept: str, given: str
) -> None:
    body = {"items": [{"text": "one"}]}
    content = msgspec.msgpack.encode(body) if "msgpack" in sent else json.dumps(body).encode()
    headers = {"content-type": sent, "accept": accept}
    reply = await client.post(ENCODE, content=content, headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (200, given)


async def test_headers_say_what_was_counted_and_how_long_it_took(client: httpx.AsyncClient) -> None:
    body, called = {"items": [{"text": "one"}]}, {"x-request-id": "mine"}
    headers = (await client.post(ENCODE, json=body, headers=called)).headers
    assert headers["x-sie-request-id"] == headers["x-request-id"] == "mine"
    assert headers["x-sie-units-input-tokens"] == "3"
    assert headers["x-tokenization-time"] == "1.00"
    assert headers["x-queue-time"] == "2.00"
    assert headers["x-inference-time"] == "3.00"
    assert "x-sie-server-version" not in headers


DTYPES: dict[str, tuple[str, list[float], list[float], dict[str, float]]] = {
    "float32": ("<f4", [3, 0, -3], [0.5, 3], {}),
    "float16": ("<f2", [3, 0, -3], [0.5, 3], {}),
    "int8": ("|i1", [127, 0, -127], [0.5, 3], {"scale": pytest.approx(3 / 127)}),
    "uint8": ("|u1", [255, 128, 0], [0.5, 3], {"scale": pytest.approx(6 / 255), "offset": -3}),
    "binary": ("|u1", [0b10000000], [0.5, 3], {}),
    "ubinary": ("|u1", [0b10000000], [0.5, 3], {}),
}


@pytest.mark.parametrize("dtype", DTYPES)
async def test_every_dtype_has_its_scale_beside_it(client: httpx.AsyncClient, dtype: str) -> None:
    kind, numbers, weights, beside = DTYPES[dtype]
    params = {"output_dtype": dtype, "output_types": ["dense", "sparse"]}
    reply = await packed(client, ENCODE, {"items": [{"text": "one"}], "params": params})
    (item,) = reply["items"]
    dense = item["dense"]
    values = array(dense.pop("values"))
    assert (values.dtype.str, values.tolist()) == (kind, numbers)
    assert dense == {"dims": 3, "dtype": dtype, **beside}
    assert array(item["sparse"]["values"]).tolist() == weights


@pytest.mark.parametrize("dtype", DTYPES)
async def test_json_has_the_same_numbers(client: httpx.AsyncClient, dtype: str) -> None:
    _, numbers, weights, beside = DTYPES[dtype]
    params = {"output_dtype": dtype, "output_types": ["dense", "sparse", "multivector"]}
    reply = await client.post(ENCODE, json={"items": [{"text": "one"}], "params": params})
    (item,) = reply.json()["items"]
    assert item["dense"] == {"dims": 3, "dtype": dtype, "values": numbers, **beside}
    assert (item["sparse"]["indices"], item["sparse"]["values"]) == ([5, 9], weights)
    assert len(item["multivector"]["values"]) == 2


async def test_a_multi_vector_has_a_scale_for_each_token(client: httpx.AsyncClient) -> None:
    params = {"output_dtype": "int8", "output_types": ["multivector"]}
    reply = await packed(client, ENCODE, {"items": [{"text": "one"}], "params": params})
    given = reply["items"][0]["multivector"]
    assert array(given["values"]).tolist() == [[127, 0, -127]] * 2
    assert array(given["scales"]) == pytest.approx([3 / 127, 1.5 / 127])


ASKED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "nothing": (ENCODE, {}, {}),
    "a query": (ENCODE, {"options": {"is_query": True}}, {"prompting": Prompting(side="query")}),
    "a document": (ENCODE, {"options": {"is_query": False}}, {}),
    "an instruction": (
        ENCODE,
        {"instruction": "Find it"},
        {"prompting": Prompting(side="document", instruction="Find it")},
    ),
    "outputs": (
        ENCODE,
        {"output_types": ["sparse", "dense", "sparse"]},
        {"outputs": ("sparse", "dense")},
    ),
    "an adapter's id": (ENCODE, {"options": {"lora_id": "legal"}}, {"adapter": "legal"}),
    "a profile": (ENCODE, {"options": {"profile": "medical"}}, {"adapter": "medical"}),
    "the default profile": (ENCODE, {"options": {"profile": "default"}}, {}),
    "an adapter in the path": (f"{ENCODE}:legal", {}, {"adapter": "legal"}),
    "the same twice": (f"{ENCODE}:legal", {"options": {"lora": "legal"}}, {"adapter": "legal"}),
    "an escaped path": ("/v1/encode/bge%3Alegal", {}, {"adapter": "legal"}),
    "dimensions": (ENCODE, {"options": {"dimensions": 2}}, {"dimensions": 2}),
    "no norm": (ENCODE, {"options": {"normalize": False}}, {"normalize": False}),
    "no truncation": (ENCODE, {"options": {"truncate": "refuse"}}, {"truncate": "refuse"}),
}


@pytest.mark.parametrize(("path", "params", "wanted"), ASKED.values(), ids=ASKED.keys())
async def test_every_word_of_a_request_reaches_the_model(
    client: httpx.AsyncClient, model: Every, path: str, params: Any, wanted: Any
) -> None:
    reply = await packed(client, path, {"items": [{"text": "one"}], "params": params})
    usual: dict[str, Any] = {
        "inputs": ["one"],
        "outputs": ("dense",),
        "prompting": Prompting(side="document"),
        "token_limit": 300_000,
    }
    assert model.asked == [EncodeRequest(**usual | wanted)]
    assert reply["model"] == "bge"


async def test_an_adapter_s_vectors_have_its_fingerprint(client: httpx.AsyncClient) -> None:
    body = {"items": [{"text": "one"}]}
    legal = await client.post(f"{ENCODE}:legal", json=body)
    base = await client.post(ENCODE, json=body)
    marks = [reply.headers["x-kubeembed-fingerprint"] for reply in (legal, base)]
    assert marks == ["beef", "f00d"]


async def test_scores_are_ranked_and_name_their_items(
    client: httpx.AsyncClient, model: Every
) -> None:
    items = [{"text": "aa"}, {"id": "long", "text": "aaaa"}, {"text": "bb"}]
    body = {
        "query": {"id": "q", "text": "?"},
        "items": items,
        "instruction": "Rank",
        "options": {"lora_id": "legal"},
    }
    reply = await packed(client, SCORE, body)
    del reply["timing"]
    assert reply == {
        "model": "bge",
        "query_id": "q",
        "scores": [
            {"item_id": "long", "score": pytest.approx(0.5986877), "rank": 0},
            {"item_id": "item-0", "score": pytest.approx(0.549834), "rank": 1},
            {"item_id": "item-2", "score": pytest.approx(0.549834), "rank": 2},
        ],
        "usage": {"input_tokens": 8},
    }
    assert model.scored == [
        ScoreRequest(
            query="?",
            documents=["aa", "aaaa", "bb"],
            instruction="Rank",
            adapter="legal",
            token_limit=300_000,
        )
    ]


async def test_a_model_without_dense_vectors_gives_what_it_has(
    client: httpx.AsyncClient, model: Every
) -> None:
    model.info = RuntimeInfo(**INFO | {"outputs": ("sparse",)})
    reply = await packed(client, ENCODE, {"items": [{"text": "one"}]})
    assert reply["items"][0].keys() == {"sparse"}


ONE = [{"text": "one"}]
IMAGE = {"data": b"\xff\xd8", "format": "jpeg"}

#: path, body, status, code, param, words
WRONG: dict[str, tuple[str, Any, int, str, str | None, str]] = {
    "no items": (ENCODE, {}, 400, "INVALID_INPUT", None, "missing required field `items`"),
    "empty items": (ENCODE, {"items": []}, 400, "INVALID_INPUT", "items", "at least one item"),
    "too many": (ENCODE, {"items": ONE * 2049}, 400, "INVALID_INPUT", "items", "at most 2048"),
    "no text": (
        ENCODE,
        {"items": [{"id": "a"}]},
        400,
        "INVALID_INPUT",
        "items",
        "items[0] has no text",
    ),
    "both texts": (
        ENCODE,
        {"items": [{"text": "a", "content": "b"}]},
        400,
        "INVALID_INPUT",
        "items",
        "items[0] has text and content",
    ),
    "an image": (
        ENCODE,
        {"items": [*ONE, {"text": "a", "images": [IMAGE]}]},
        400,
        "INVALID_INPUT",
        "items",
        "items[1] has images; this model reads text only",
    ),
    "audio": (
        ENCODE,
        {"items": [{"audio": IMAGE}]},
        400,
        "INVALID_INPUT",
        "items",
        "items[0] has audio; this model reads text only",
    ),
    "an image as query": (
        SCORE,
        {"query": {"images": [IMAGE]}, "items": ONE},
        400,
        "INVALID_INPUT",
        "items",
        "query has images",
    ),
    "no object": (ENCODE, [1], 400, "INVALID_INPUT", None, "Expected `object`, got `array`"),
    "text of a number": (
        ENCODE,
        {"items": [{"text": 5}]},
        400,
        "INVALID_INPUT",
        "items[0].text",
        "Expected `str | null`, got `int`",
    ),
    "an unknown field": (
        ENCODE,
        {"items": ONE, "parameters": {}},
        400,
        "INVALID_INPUT",
        None,
        "unknown field `parameters`",
    ),
    "an unknown option": (
        ENCODE,
        {"items": ONE, "params": {"options": {"pooling": "cls"}}},
        400,
        "INVALID_INPUT",
        "params.options",
        "`$.params.options`; allowed: is_query, profile, lora_id, lora, instruction, ",
    ),
    "an unknown dtype": (
        ENCODE,
        {"items": ONE, "params": {"output_dtype": "bfloat16"}},
        400,
        "INVALID_INPUT",
        "params.output_dtype",
        "`$.params.output_dtype`; allowed: binary, float16, float32, int8, ubinary, uint8",
    ),
    "an unknown output": (
        ENCODE,
        {"items": ONE, "params": {"output_types": ["colbert"]}},
        400,
        "INVALID_INPUT",
        "params.output_types[0]",
        "`$.params.output_types[0]`; allowed: dense, multivector, sparse",
    ),
    "an unknown adapter": (
        ENCODE,
        {"items": ONE, "params": {"options": {"lora_id": "org/any"}}},
        400,
        "INVALID_INPUT",
        "model",
        "options.lora_id is 'org/any'; allowed: legal, medical",
    ),
    "an unknown profile": (
        SCORE,
        {"query": ONE[0], "items": ONE, "options": {"profile": "fast"}},
        400,
        "INVALID_INPUT",
        "model",
        "options.profile is 'fast'; allowed: legal, medical",
    ),
    "two adapters": (
        f"{ENCODE}:legal",
        {"items": ONE, "params": {"options": {"lora_id": "medical"}}},
        400,
        "INVALID_INPUT",
        "model",
        "names 2 adapters (legal, medical); name one",
    ),
    "a model with an owner": (
        "/v1/encode/BAAI/bge-m3",
        {"items": ONE},
        404,
        "MODEL_NOT_FOUND",
        "model",
        "'BAAI/bge-m3' is not served here; have: bge, bge:legal, bge:medical; did you mean 'bge'?",
    ),
    "a model like none": (
        "/v1/score/e5",
        {"query": ONE[0], "items": ONE},
        404,
        "MODEL_NOT_FOUND",
        "model",
        "model 'e5' is not served here; have: bge, bge:legal, bge:medical",
    ),
    "an adapter in the path": (
        "/v1/encode/bge:lagel",
        {"items": ONE},
        404,
        "MODEL_NOT_FOUND",
        "model",
        "did you mean 'bge:legal'?",
    ),
    "extract": ("/v1/extract/bge", {}, 400, "INVALID_INPUT", None, "does not extract"),
    "generate": ("/v1/generate/bge", {}, 400, "INVALID_INPUT", None, "does not generate"),
    "a pool": ("/v1/pools", {"name": "a"}, 400, "INVALID_REQUEST", None, "leave the pool out"),
}


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param", "said"), WRONG.values(), ids=WRONG.keys()
)
async def test_what_is_wrong_is_refused_with_the_fix(
    client: httpx.AsyncClient,
    model: Every,
    path: str,
    body: Any,
    status: int,
    code: str,
    param: str | None,
    said: str,
) -> None:
    reply = await client.post(path, content=msgspec.msgpack.encode(body), headers=MSGPACK)
    check(reply, status, code, param, said)
    assert (model.asked, model.scored) == ([], [])


def check(reply: httpx.Response, status: int, code: str, param: str | None, said: str) -> Any:
    """The reply's detail, as the SDK reads it: never a string, and never under `error`."""
    detail = reply.json()["detail"]
    assert said in detail["message"]
    assert reply.status_code == status
    assert (detail["code"], detail.get("param")) == (code, param)
    assert reply.headers["x-sie-error-code"] == code
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-sie-request-id"]
    return detail


#: failure of the model -> status, code, Retry-After: the rows of the SDK's ladder that arise under way.
FAILURES: dict[str, tuple[Exception, int, str, str | None]] = {
    "queue full": (QueueFull(9, 8, 2.6), 503, "QUEUE_FULL", "3"),
    "out of memory": (OutOfMemory("no memory for it"), 503, "RESOURCE_EXHAUSTED", "1"),
    "too late": (DeadlineExceeded("too late"), 504, "GATEWAY_TIMEOUT", None),
    "too long": (
        InvalidInput("inputs", "input 0 has 9 tokens", "input_too_long"),
        400,
        "INPUT_TOO_LONG",
        None,
    ),
    "no such output": (InvalidInput("outputs", "gives no sparse"), 400, "INVALID_INPUT", None),
    "adapter refused": (AdapterRefused("has use_dora true"), 502, "MODEL_LOAD_FAILED", None),
    "device": (DeviceFailed("failed"), 500, "INFERENCE_ERROR", None),
    "unforeseen": (ValueError("a secret"), 500, "INTERNAL_ERROR", None),
}


@pytest.mark.parametrize("path", [ENCODE, SCORE], ids=["encode", "score"])
@pytest.mark.parametrize(
    ("failure", "status", "code", "after"), FAILURES.values(), ids=FAILURES.keys()
)
async def test_what_fails_under_way_has_the_code_that_the_sdk_decides_on(
    client: httpx.AsyncClient,
    model: Every,
    failure: Exception,
    status: int,
    code: str,
    after: str | None,
    path: str,
) -> None:
    model.failure = failure
    body = {"items": ONE} | ({"query": ONE[0]} if path == SCORE else {})
    reply = await client.post(path, json=body)
    detail = reply.json()["detail"]
    assert (reply.status_code, detail["code"]) == (status, code)
    assert reply.headers["x-sie-error-code"] == code
    assert reply.headers.get("retry-after") == after
    assert "secret" not in reply.text


async def test_an_adapter_that_cannot_load_says_that_no_retry_helps(
    client: httpx.AsyncClient, model: Every
) -> None:
    model.failure = AdapterRefused("has use_dora true")
    reply = await client.post(f"{ENCODE}:legal", json={"items": ONE})
    assert reply.json()["detail"] == {
        "code": "MODEL_LOAD_FAILED",
        "message": "has use_dora true",
        "param": "model",
        "error_class": "AdapterRefused",
        "permanent": True,
        "attempts": 1,
    }


async def test_while_the_model_loads_the_sdk_is_told_to_come_again() -> None:
    transport = httpx.ASGITransport(public_app(Lifecycle("bge"), Metrics("0")))
    async with httpx.AsyncClient(transport=transport, base_url="http://bge") as client:
        for path, body in ((ENCODE, {}), (SCORE, {"query": ONE[0]})):
            reply = await client.post(path, json={"items": ONE, **body})
            check(reply, 503, "MODEL_LOADING", None, "model 'bge' is still loading")
            assert reply.headers["retry-after"] == "2"


JSON_DEEP = b'{"items":[{"text":"a","metadata":' + b'{"a":' * 100_000
PACKED_DEEP = b"\x81\xa5items\x91\x81\xa8metadata" + b"\x81\xa1a" * 100_000
UNREAD: dict[str, tuple[bytes, str, int, str]] = {
    "no JSON": (b"{", "application/json", 400, "INVALID_REQUEST"),
    "no msgpack": (b"\xc1", "application/msgpack", 400, "INVALID_REQUEST"),
    "cut msgpack": (b"\x81\xa5item", "application/msgpack", 400, "INVALID_REQUEST"),
    "more than msgpack": (
        msgspec.msgpack.encode({"items": ONE}) + b"\x80",
        "application/msgpack",
        400,
        "INVALID_REQUEST",
    ),
    "not UTF-8": (
        b"\x81\xa5items\x91\x81\xa4text\xa1\xff",
        "application/msgpack",
        400,
        "INVALID_REQUEST",
    ),
    "deep msgpack": (PACKED_DEEP, "application/msgpack", 400, "INVALID_REQUEST"),
    "deep JSON": (JSON_DEEP, "application/json", 400, "INVALID_REQUEST"),
    "a form": (b"a=b", "application/x-www-form-urlencoded", 415, "INVALID_REQUEST"),
    "too large": (b" " * (MAX_BODY_BYTES + 1), "application/json", 413, "PAYLOAD_TOO_LARGE"),
}


@pytest.mark.parametrize(("body", "media", "status", "code"), UNREAD.values(), ids=UNREAD.keys())
async def test_a_body_that_cannot_be_read_is_refused(
    client: httpx.AsyncClient, body: bytes, media: str, status: int, code: str
) -> None:
    reply = await client.post(ENCODE, content=body, headers={"content-type": media})
    assert (reply.status_code, reply.json()["detail"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/pools/a"), ("DELETE", "/v1/pools/a"), ("POST", "/v1/pools/a/renew")],
)
async def test_there_are_no_pools(client: httpx.AsyncClient, method: str, path: str) -> None:
    reply = await client.request(method, path)
    check(reply, 404, "POOL_NOT_FOUND", None, "there are no pools here")
