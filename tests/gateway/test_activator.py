"""Requests for a model without pods: held, forwarded in order, bounded, given up with their client."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gatewaykit import NAMESPACE, PORT, Gateway, StubPod, gateway, seen

KEY = (NAMESPACE, "minilm")
Stub = Callable[..., Awaitable[StubPod]]


async def ask(client: aiohttp.ClientSession, url: str, text: str = "a") -> tuple[int, Any, Any]:
    async with client.post(f"{url}/v1/embeddings", json={"model": "minilm", "input": text}) as got:
        return got.status, await got.json(), got.headers


async def test_a_request_is_held_until_a_pod_is_ready(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    await front.asleep()
    asked = asyncio.create_task(ask(client, front.url))
    await front.until_held(1)
    assert front.woken == [KEY, KEY]
    pod = await stub()
    await front.awake(pod)
    status, body, headers = await asked
    assert (status, body["pod"]) == (200, "pod-1")
    assert headers["Connection"] == "close"
    assert front.counted("held", namespace=NAMESPACE, model="minilm") == 0
    assert front.counted("hold_seconds_count", namespace=NAMESPACE, model="minilm") == 1
    assert front.counted("requests_total", namespace=NAMESPACE, model="minilm", status="200") == 1


async def test_the_request_arrives_as_it_was_sent_and_the_reply_as_it_was_given(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        pod.seen.append(seen(request, body))
        headers = {"X-KubeEmbed-Fingerprint": "f00d", "Keep-Alive": "timeout=5", "Server": "pod"}
        return web.Response(status=418, reason="Teapot", body=b"\x00\xff", headers=headers)

    pod = await stub("pod-1", answer)
    await front.asleep()
    await front.awake(pod)
    sent = {"X-Request-Id": "7", "Content-Type": "application/msgpack", "TE": "trailers"}
    path = "/v1/encode/BAAI%2Fbge-m3//x?a=b%20c&d"
    body = bytes(range(256))
    url = aiohttp.client.URL(f"{front.url}{path}", encoded=True)
    async with client.put(url, data=body, headers=sent) as got:
        assert (got.status, got.reason, await got.read()) == (418, "Teapot", b"\x00\xff")
        assert got.headers["X-KubeEmbed-Fingerprint"] == "f00d"
        assert got.headers["Server"] == "pod"
        assert "Keep-Alive" not in got.headers
    (got,) = pod.seen
    assert (got.method, got.path, got.body) == ("PUT", path, body)
    assert got.headers["X-Request-Id"] == "7"
    assert got.headers["Content-Type"] == "application/msgpack"
    assert got.headers["Host"] == f"127.0.0.1:{PORT}"
    assert got.headers["X-Forwarded-For"] == "127.0.0.1"
    assert "TE" not in got.headers
    assert {name.lower() for name in got.headers} == {
        "accept",
        "accept-encoding",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-forwarded-for",
        "x-request-id",
    }


async def test_two_hundred_wait_for_one_pod_and_each_gets_its_own_answer(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    await front.asleep()
    asked = []
    for number in range(200):
        asked.append(asyncio.create_task(ask(client, front.url, f"text {number}")))
        await front.until_held(number + 1)
    assert set(front.woken) == {KEY}
    pod = await stub()
    await front.awake(pod)
    answers = await asyncio.gather(*asked)
    assert {status for status, _, _ in answers} == {200}
    inputs = [json.loads(body["body"])["input"] for _, body, _ in answers]
    assert inputs == [f"text {number}" for number in range(200)]
    arrived = [json.loads(each.body)["input"] for each in pod.seen]
    assert sorted(arrived) == sorted(inputs)


async def test_who_waits_is_let_go_in_the_order_of_coming(front: Gateway) -> None:
    await front.asleep()
    model, gone = front.table.models[KEY], []

    async def wait(number: int) -> None:
        await front.holds.wait(model, asyncio.get_running_loop().time() + 10)
        gone.append(number)

    waits = []
    for number in range(200):
        waits.append(asyncio.create_task(wait(number)))
        await front.until_held(number + 1)
    front.holds.release(KEY)
    await asyncio.gather(*waits)
    assert gone == list(range(200))


async def test_past_the_bound_a_request_is_told_when_to_come_again(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    hold = {"hold": {"requests": 2, "wait": "5m"}}
    await front.asleep(scaling=hold, status={"lastColdStart": {"totalSeconds": 6.2}})
    held = [asyncio.create_task(ask(client, front.url, str(number))) for number in range(2)]
    await front.until_held(2)
    status, body, headers = await ask(client, front.url, "third")
    assert (status, headers["Retry-After"]) == (503, "7")
    assert body["error"]["code"] == "model_loading"
    assert body["error"]["message"] == (
        "model 'minilm' of namespace 'search' is starting, and 2 requests wait for it already"
    )
    await front.awake(await stub())
    assert [status for status, _, _ in await asyncio.gather(*held)] == [200, 200]


async def test_a_model_that_holds_nothing_is_woken_by_whom_it_turns_away(
    front: Gateway, client: aiohttp.ClientSession
) -> None:
    await front.asleep(scaling={"hold": {"requests": 0}})
    status, _, headers = await ask(client, front.url)
    assert (status, headers["Retry-After"]) == (503, "15")
    assert front.woken == [KEY]


async def test_a_request_waits_no_longer_than_its_model_says(
    front: Gateway, client: aiohttp.ClientSession
) -> None:
    await front.asleep(scaling={"hold": {"requests": 2, "wait": "1s"}})
    status, body, headers = await ask(client, front.url)
    assert (status, headers["Retry-After"]) == (503, "15")
    assert "had no ready pod within 1 s" in body["error"]["message"]


async def test_bodies_are_held_within_the_pods_memory(
    client: aiohttp.ClientSession, stub: Stub
) -> None:
    async with gateway(held_bytes=250_000) as front:
        await front.asleep()
        held = [asyncio.create_task(ask(client, front.url, "x" * 100_000)) for _ in range(2)]
        await front.until_held(2)
        status, body, headers = await ask(client, front.url, "x" * 100_000)
        assert (status, headers["Retry-After"]) == (503, "5")
        assert body["error"]["code"] == "bodies_full"
        assert 200_000 < front.memory.held <= 250_000
        await front.awake(await stub())
        assert [status for status, _, _ in await asyncio.gather(*held)] == [200, 200]
        assert front.memory.held == 0


async def test_a_body_that_no_pod_would_read_is_refused_at_once(
    front: Gateway, client: aiohttp.ClientSession
) -> None:
    await front.asleep()
    headers = {"Content-Length": str(20 * 1024 * 1024), "Expect": "100-continue"}
    async with client.post(f"{front.url}/embed", data=b"", headers=headers) as got:
        assert got.status == 413
        assert (await got.json())["error_type"] == "Validation"


async def test_a_client_that_leaves_waits_no_more(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    await front.asleep()
    asked = [asyncio.create_task(ask(client, front.url, text)) for text in ("stays", "leaves")]
    await front.until_held(2)
    asked[1].cancel()
    await front.until_held(1)
    pod = await stub()
    await front.awake(pod)
    assert (await asked[0])[0] == 200
    assert [json.loads(each.body)["input"] for each in pod.seen] == ["stays"]
    assert front.counted("requests_total", namespace=NAMESPACE, model="minilm", status="499") == 1


async def test_a_client_that_leaves_takes_its_request_from_the_pod(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return web.Response()

    await front.asleep()
    await front.awake(await stub("pod-1", answer))
    asked = asyncio.create_task(ask(client, front.url))
    async with asyncio.timeout(10):
        await begun.wait()
        asked.cancel()
        await ended.wait()


async def test_a_request_without_a_key_wakes_no_model_that_asks_for_one(
    front: Gateway, client: aiohttp.ClientSession
) -> None:
    await front.asleep(serving={"apiKeysSecret": "keys"})
    status, body, headers = await ask(client, front.url)
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert body["error"]["code"] == "invalid_api_key"
    assert front.woken == []


async def test_a_model_that_says_who_may_ask_is_not_reached_by_its_port_any_more(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    await front.asleep(network={"allowFrom": [{"podSelector": {}}]})
    pod = await stub()
    for _ in range(2):  # before and after its pod is ready
        status, body, headers = await ask(client, front.url)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert body["error"]["code"] == "model_loading"
        assert headers["Connection"] == "close"
        await front.awake(pod)
    assert (front.woken, pod.seen) == ([], [])


async def test_a_large_body_is_held_and_sent_whole(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    await front.asleep()
    body = bytes(range(256)) * 20_000
    asked = asyncio.create_task(client.post(f"{front.url}/embed", data=io.BytesIO(body)))
    await front.until_held(1)
    assert front.memory.held == len(body)
    pod = await stub()
    await front.awake(pod)
    async with await asked as got:
        assert got.status == 200
    assert pod.seen[0].body == body


async def test_a_large_reply_streams_through(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    half = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await half.wait()
        await response.write(b"second")
        return response

    await front.asleep()
    await front.awake(await stub("pod-1", answer))
    async with client.get(f"{front.url}/v1/x") as got:
        assert await got.content.read(5) == b"first"
        half.set()
        assert await got.read() == b"second"


async def test_the_port_goes_with_its_model_and_comes_again(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    await front.asleep()
    front.table.drop("services", KEY)
    await front.activator.sync()
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(client, front.url)
    await front.asleep()
    await front.awake(await stub())
    assert (await ask(client, front.url))[0] == 200
