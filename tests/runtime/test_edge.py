"""What stands before every contract: request ids, API keys, fingerprints, CORS, and hostile bodies."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from kubeembed_api.reasons import Reason
from kubeembed_runtime.api import body, openai_errors
from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.body import ClientGone
from kubeembed_runtime.api.contract import UNWATCHED_SECONDS, Service, route, unless_gone
from kubeembed_runtime.api.edge import REREAD_SECONDS, Edge, Keys
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.errors import StartFailed, Unauthorized
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.requests import Encoded, EncodeRequest, Output

URL = "/v1/embeddings"
BODY = {"model": "minilm", "input": "a"}
MIB = 1024 * 1024

Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture
def connect(lifecycle: Lifecycle) -> Connect:
    """(**edge) -> a client of a server with it."""

    def make(**edge: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(public_app(lifecycle, Metrics("0"), Edge(**edge)))
        return httpx.AsyncClient(transport=transport, base_url="http://minilm")

    return make


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    file = tmp_path / "keys"
    file.write_text("# ours\nfirst\n\n  second  \nschlüssel\n")
    return Keys(file)


@pytest.mark.parametrize("path", [URL, "/v1/models", "/health", "/nothing/here"])
@pytest.mark.parametrize("sent", ["req_1-~ 2", "x" * 128])
async def test_a_request_id_comes_back(connect: Connect, path: str, sent: str) -> None:
    async with connect() as client:
        method = "POST" if path == URL else "GET"
        headers = {"x-request-id": sent}
        reply = await client.request(method, path, json=BODY, headers=headers)
    assert reply.headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", [None, b"", b"x" * 129, b"a\xffb", b"tab\tbed"], ids=repr)
async def test_a_request_without_a_sane_id_gets_one(connect: Connect, sent: bytes | None) -> None:
    headers = {} if sent is None else {b"x-request-id": sent}
    async with connect() as client:
        ids = [
            (await client.post(URL, json=BODY, headers=headers)).headers["x-request-id"]
            for _ in range(2)
        ]
    assert all(len(one) == 32 and one.isalnum() for one in ids)
    assert ids[0] != ids[1]


async def test_an_unforeseen_error_is_logged_with_its_id(
    connect: Connect, fake_model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake_model.failure = ZeroDivisionError("of this text")
    async with connect() as client:
        reply = await client.post(URL, json=BODY, headers={"x-request-id": "mine"})
    assert reply.status_code == 500
    assert reply.headers["x-request-id"] == "mine"
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.getMessage() == "request mine failed in a way that nobody foresaw"
    assert record.exc_info


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("f00d", 200),
        ('"f00d"', 200),
        ("beef, f00d", 200),
        ("*", 200),
        ("beef", 412),
        ("", 412),
        ("F00D", 412),
    ],
)
async def test_vectors_of_another_fingerprint_are_refused_unrun(
    connect: Connect, fake_model: Any, wanted: str, status: int
) -> None:
    async with connect() as client:
        reply = await client.post(URL, json=BODY, headers={"if-fingerprint-match": wanted})
    assert reply.status_code == status
    assert reply.headers["x-kubeembed-fingerprint"] == "f00d"
    assert len(fake_model.asked) == (1 if status == 200 else 0)
    if status == 412:
        error = reply.json()["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "fingerprint_mismatch")
        assert "'f00d'" in error["message"]


@pytest.mark.parametrize(("wanted", "status"), [("beef", 200), ("f00d", 412)])
async def test_an_adapter_is_asked_for_by_its_own_fingerprint(
    connect: Connect,
    fake_model: Any,
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    status: int,
) -> None:
    async def encode(request: EncodeRequest) -> Encoded:
        outputs = [Output(dense=np.zeros(3, np.float32))]
        return Encoded(outputs=outputs, tokens=1, fingerprint="beef")

    fake_model.adapters = ("medical",)
    monkeypatch.setattr(fake_model, "encode", encode)
    body = BODY | {"model": "minilm:medical"}
    async with connect() as client:
        reply = await client.post(URL, json=body, headers={"if-fingerprint-match": wanted})
    assert reply.status_code == status


@pytest.mark.parametrize(
    "sent", ["Bearer first", "bearer second", "Bearer  first ", "Bearer schlüssel"]
)
async def test_a_known_key_opens(connect: Connect, keys: Keys, sent: str) -> None:
    headers = {b"authorization": sent.encode()}
    async with connect(keys=keys) as client:
        reply = await client.post(URL, json=BODY, headers=headers)
    assert reply.status_code == 200


@pytest.mark.parametrize(
    "sent",
    [None, "", "first", "Bearer", "Bearer ", "Bearer firs", "Bearer # ours", "Basic first"],
)
@pytest.mark.parametrize(("method", "path"), [("POST", URL), ("GET", "/v1/models")])
async def test_without_one_nothing_is_told(
    connect: Connect, keys: Keys, fake_model: Any, method: str, path: str, sent: str | None
) -> None:
    headers = {} if sent is None else {"authorization": sent}
    async with connect(keys=keys) as client:
        reply = await client.request(method, path, json=BODY, headers=headers)
    error = reply.json()["error"]
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    assert fake_model.asked == []


async def test_health_needs_no_key(connect: Connect, keys: Keys) -> None:
    async with connect(keys=keys) as client:
        assert (await client.get("/health")).status_code == 200


def test_keys_are_read_again_when_they_change(tmp_path: Path) -> None:
    file, now = tmp_path / "keys", [0.0]
    file.write_text("old\n")
    keys = Keys(file, lambda: now[0])
    file.write_text("new\n")
    keys.check("Bearer old")
    now[0] = REREAD_SECONDS
    keys.check("Bearer new")
    with pytest.raises(Unauthorized):
        keys.check("Bearer old")
    file.write_text("")
    now[0] = 2 * REREAD_SECONDS
    keys.check("Bearer new")
    file.unlink()
    now[0] = 3 * REREAD_SECONDS
    keys.check("Bearer new")


def test_a_file_that_is_not_there_is_told_as_the_secret_that_it_stands_for(tmp_path: Path) -> None:
    file = tmp_path / "our-keys" / "api-keys"
    with pytest.raises(StartFailed, match=f"{file} is not there: the Secret, or its key") as told:
        Keys(file)
    assert told.value.reason is Reason.SECRET_MISSING


@pytest.mark.parametrize("content", [b"", b"\n# none\n", b"\xff\xfe"], ids=repr)
def test_a_file_without_keys_keeps_the_server_from_starting(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(StartFailed, match=str(file)):
        Keys(file)


async def test_pages_of_other_origins_are_told_nothing(connect: Connect) -> None:
    async with connect() as client:
        reply = await client.post(URL, json=BODY, headers={"origin": "https://app.example"})
    assert not [name for name in reply.headers if name.startswith("access-control")]


async def test_a_page_of_an_allowed_origin_may_ask_with_a_key(connect: Connect, keys: Keys) -> None:
    asks = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    async with connect(keys=keys, origins=("https://app.example",)) as client:
        allowed = await client.options(URL, headers=asks)
        refused = await client.options(URL, headers=asks | {"origin": "https://evil.example"})
        headers = {"origin": "https://app.example", "authorization": "Bearer first"}
        reply = await client.post(URL, json=BODY, headers=headers)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    assert refused.status_code == 400
    assert reply.headers["access-control-allow-origin"] == "https://app.example"
    assert "x-kubeembed-fingerprint" in reply.headers["access-control-expose-headers"]


DEEP = 200_000
HOSTILE: dict[str, tuple[bytes, int]] = {
    "deep lists": (b'{"model":"minilm","input":' + b"[" * DEEP + b"]" * DEEP + b"}", 400),
    "deep maps": (b'{"a":' * DEEP, 400),
    "deep user": (b'{"model":"minilm","input":"a","user":' + b"[" * DEEP, 400),
    "many inputs": (b'{"model":"minilm","input":[' + b'"a",' * 10**6 + b'"a"]}', 400),
    "many ids": (b'{"model":"minilm","input":[' + b"1," * 10**6 + b"1]}", 400),
    "lone surrogate": (rb'{"model":"minilm","input":"\ud800 \udfff"}', 400),
    "half a pair": (rb'{"model":"minilm","input":"a\ud83d"}', 400),
    "nul": (rb'{"model":"minilm","input":"a\u0000b"}', 200),
    "raw nul": (b'{"model":"minilm","input":"a\x00b"}', 400),
    "large number": (b'{"model":"minilm","input":[' + b"9" * 5000 + b"]}", 400),
    "nan": (b'{"model":"minilm","input":"a","dimensions":NaN}', 400),
    "twice": (b'{"model":"minilm","model":"minilm","input":"a"}', 200),
    "bom": (b'\xef\xbb\xbf{"model":"minilm","input":"a"}', 400),
    "too large": (b" " * (16 * MIB + 1), 413),
}


@pytest.mark.parametrize(("body", "status"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_body_is_refused_or_served(
    connect: Connect, body: bytes, status: int
) -> None:
    headers = {"content-type": "application/json"}
    async with connect() as client:
        reply = await client.post(URL, content=body, headers=headers)
    assert reply.status_code == status, reply.text[:300]
    if status != 200:
        assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("decode", "body"),
    [(msgspec.json.decode, b"[" * DEEP), (msgspec.msgpack.decode, b"\x91" * DEEP)],
    ids=["json", "msgpack"],
)
async def test_a_body_of_any_shape_that_is_nested_too_deeply_is_refused(
    lifecycle: Lifecycle, decode: Callable[[bytes], Any], body: bytes
) -> None:
    async def answer(request: Request) -> Response:
        return Response(str(decode(await request.body())))

    service = Service(lifecycle=lifecycle, metrics=Metrics("0"))
    path = route(
        "/any", "POST", contract="any", answer=answer, refuse=openai_errors.refuse, service=service
    )
    transport = httpx.ASGITransport(Starlette(routes=[path]))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        reply = await client.post("/any", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "the body is nested too deeply"


@pytest.mark.parametrize("seconds", [0.0, 3 * UNWATCHED_SECONDS], ids=["soon", "late"])
async def test_work_whose_client_stays_is_done(seconds: float) -> None:
    assert await unless_gone(_request(asyncio.Event()), asyncio.sleep(seconds, "done")) == "done"


async def test_work_whose_client_leaves_is_cancelled() -> None:
    gone, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        gone.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ClientGone):
        await unless_gone(_request(gone), work())
    assert cancelled.is_set()
    await asyncio.sleep(0)  # the task itself is not cancelled


async def test_a_server_that_ends_is_no_client_that_leaves() -> None:
    task = asyncio.ensure_future(unless_gone(_request(asyncio.Event()), asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def _request(gone: asyncio.Event) -> Request:
    """Of a client that leaves with the event."""

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


async def test_a_body_that_trickles_is_given_up(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.05)

    async def trickling() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    async with connect() as client:
        reply = await client.post(
            URL, content=trickling(), headers={"content-type": "application/json"}
        )
    assert reply.status_code == 408
    assert reply.json()["error"]["code"] == "request_timeout"
