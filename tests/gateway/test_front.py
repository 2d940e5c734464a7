"""The common address: models by the name that a request gives, in each contract's way of giving it."""

import asyncio
import difflib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest

from gatewaykit import NAMESPACE, Gateway, StubPod, model, service, slice_of
from kubeembed_gateway.errors import Refused
from kubeembed_gateway.naming import COMPARED, resolve
from kubeembed_gateway.table import MODELS, SERVICES, SLICES, Table

Stub = Callable[..., Awaitable[StubPod]]
MSGPACK = {"Content-Type": "application/msgpack"}
LEGAL = [{"name": "legal", "source": "hf://a/b"}]


@pytest.fixture
async def pods(front: Gateway, stub: Stub) -> dict[str, StubPod]:
    """Models by name, one of them in two namespaces; each with a pod of the name."""
    found = {}
    for namespace, name in ((NAMESPACE, "minilm"), (NAMESPACE, "bge"), ("other", "bge")):
        pod = await stub(f"{namespace}-{name}")
        await front.put(
            **{
                MODELS: model(name, namespace=namespace, adapters=LEGAL),
                SLICES: slice_of(name, (pod.name, pod.port), namespace=namespace),
            }
        )
        found[pod.name] = pod
    return found


async def post(
    client: aiohttp.ClientSession, url: str, body: bytes, **headers: str
) -> tuple[int, Any]:
    async with client.post(url, data=body, headers=headers) as got:
        return got.status, await got.json()


@pytest.mark.parametrize(
    ("path", "body", "headers", "pod"),
    [
        ("/v1/embeddings", b'{"input": "a", "model": "minilm"}', {}, "search-minilm"),
        ("/v2/embed", b'{"model": "minilm:legal", "texts": []}', {}, "search-minilm"),
        ("/embed", b'{"model": "other/bge", "inputs": ""}', {}, "other-bge"),
        ("/v1/encode/minilm", b"\x80", MSGPACK, "search-minilm"),
        ("/v1/score/search/bge:legal", b"\x80", MSGPACK, "search-bge"),
        ("/v1/encode/other%2Fbge", b"\x80", MSGPACK, "other-bge"),
        ("/v1/embeddings", msgspec.msgpack.encode({"model": "minilm"}), MSGPACK, "search-minilm"),
        (
            "/v1/embeddings",
            b'{"input": ["{\\"model\\": \\"bge\\"}"], "x": {"model": "bge"}, "model": "minilm"}',
            {},
            "search-minilm",
        ),
    ],
)
async def test_a_request_goes_to_the_model_that_it_names_unchanged(
    front: Gateway,
    client: aiohttp.ClientSession,
    pods: dict[str, StubPod],
    path: str,
    body: bytes,
    headers: dict[str, str],
    pod: str,
) -> None:
    url = aiohttp.client.URL(front.common + path, encoded=True)
    async with client.post(url, data=body, headers=headers) as got:
        assert (got.status, (await got.json())["pod"]) == (200, pod)
    (seen,) = pods[pod].seen
    assert (seen.path, seen.body) == (path, body)


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        (
            "/v1/embeddings",
            b'{"model": "bge"}',
            400,
            "model_ambiguous",
            "write other/bge or search/",
        ),
        ("/v1/embeddings", b'{"model": "bge:x"}', 400, "model_ambiguous", "search/bge:x"),
        ("/v1/embeddings", b'{"model": "BAAI/minilm6"}', 404, "model_not_found", "mean 'minilm'?"),
        ("/v1/embeddings", b'{"model": "x/minilm"}', 404, "model_not_found", "no model 'x/minilm'"),
        ("/v1/embeddings", b'{"model": "minilm:a"}', 404, "model_not_found", "adapters: legal"),
        ("/v1/embeddings", b'{"model": "minilm:"}', 404, "model_not_found", "no adapter ''"),
        ("/v1/embeddings", b'{"input": "a"}', 400, "model_missing", 'write "model": NAME'),
        ("/v1/embeddings", b'{"model": 7}', 400, "model_missing", "got `int`"),
        ("/v1/embeddings", b"", 400, "invalid_json", "not JSON"),
        ("/v1/embeddings", b'{"model": "minilm"', 400, "invalid_json", "not JSON"),
        ("/v1/embeddings", b'"minilm"', 400, "model_missing", "got `str`"),
    ],
)
async def test_what_is_not_clear_is_refused_with_what_to_write(
    front: Gateway,
    client: aiohttp.ClientSession,
    pods: dict[str, StubPod],
    path: str,
    body: bytes,
    status: int,
    code: str,
    words: str,
) -> None:
    got, answer = await post(client, front.common + path, body)
    assert (got, answer["error"]["code"]) == (status, code)
    assert words in answer["error"]["message"]


async def test_a_model_whose_document_says_who_may_ask_is_not_served_here(
    front: Gateway, client: aiohttp.ClientSession, pods: dict[str, StubPod]
) -> None:
    await front.put(**{MODELS: model(network={"allowFrom": [{"podSelector": {}}]})})
    got, answer = await post(client, f"{front.common}/v1/embeddings", b'{"model": "minilm"}')
    assert (got, answer["error"]["code"]) == (403, "forbidden")
    assert answer["error"]["message"] == (
        "model 'minilm' has network.allowFrom and is served at its own address alone: "
        "http://minilm.search.svc"
    )
    async with client.post(f"{front.common}/v1/encode/minilm", data=b"\x80") as sie:
        assert (sie.status, sie.headers["X-SIE-Error-Code"]) == (403, "FORBIDDEN")
    assert pods["search-minilm"].seen == []


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("team-500-bge-larg", "team-500-bge-large"),
        ("acme/TEAM-77-bge-large", "team-77-bge-large"),
        ("e5-bass", "e5-base"),
        ("m", None),
    ],
)
def test_of_a_thousand_names_the_likely_ones_are_compared(
    monkeypatch: pytest.MonkeyPatch, asked: str, near: str | None
) -> None:
    compared = []
    ratio = difflib.SequenceMatcher.ratio

    def counted(matcher: Any) -> float:
        compared.append(matcher)
        return ratio(matcher)

    monkeypatch.setattr(difflib.SequenceMatcher, "ratio", counted)
    table = Table()
    for name in ("e5-base", *(f"team-{number}-bge-large" for number in range(999))):
        table.put(MODELS, model(name))
    with pytest.raises(Refused) as refused:
        resolve(table, asked)
    assert refused.value.suggestions[:1] == ((near,) if near else ())
    assert len(compared) <= 2 * COMPARED  # difflib asks twice for those that are near


async def test_sie_is_told_like_names(
    front: Gateway, client: aiohttp.ClientSession, pods: dict[str, StubPod]
) -> None:
    async with client.post(f"{front.common}/v1/encode/MiniLM-l6", data=b"\x80") as got:
        assert (got.status, got.headers["X-SIE-Error-Code"]) == (404, "MODEL_NOT_FOUND")
        assert (await got.json())["detail"]["suggestions"] == ["minilm"]


async def test_a_sleeping_model_is_held_woken_and_its_connection_kept(
    front: Gateway, stub: Stub
) -> None:
    await front.asleep()
    async with aiohttp.ClientSession() as client:
        body = b'{"model": "minilm"}'
        asked = asyncio.create_task(post(client, f"{front.common}/v1/embeddings", body))
        await front.until_held(1)
        assert set(front.woken) == {(NAMESPACE, "minilm")}
        await front.awake(await stub())
        assert (await asked)[0] == 200
        async with client.post(f"{front.common}/v1/embeddings", data=body) as got:
            assert "Connection" not in got.headers


async def test_models_are_listed_with_their_state(
    front: Gateway, client: aiohttp.ClientSession, pods: dict[str, StubPod]
) -> None:
    asleep = {"conditions": [{"type": "Asleep", "status": "True"}]}
    found = {"model": {"dimensions": 384, "maxTokens": 256, "fingerprint": "f00d"}}
    await front.put(
        **{MODELS: model("tired", status={**asleep, **found}), SERVICES: service("tired")}
    )
    async with client.get(f"{front.common}/v1/models") as got:
        listed = await got.json()
    assert [each["id"] for each in listed["data"]] == [
        *("minilm", "minilm:legal", "other/bge", "other/bge:legal"),
        *("search/bge", "search/bge:legal", "tired"),
    ]
    states = {each["name"]: (each["loaded"], each["state"]) for each in listed["models"]}
    assert states == {
        "minilm": (True, "loaded"),
        "other/bge": (True, "loaded"),
        "search/bge": (True, "loaded"),
        "tired": (False, "available"),
    }
    async with client.get(f"{front.common}/v1/models/tired") as got:
        one = await got.json()
    assert (one["id"], one["object"], one["dims"]) == ("tired", "model", {"dense": 384})
    assert one["kubeembed"] == {
        "namespace": NAMESPACE,
        "name": "tired",
        "state": "Asleep",
        "reason": None,
        "readyPods": 0,
        "startSeconds": None,
        "endpoint": "http://tired.search.svc",
    }
    async with client.get(f"{front.common}/v1/models/none") as got:
        assert got.status == 404
    assert front.woken == []


async def test_health_is_what_sies_client_reads(
    front: Gateway, client: aiohttp.ClientSession, pods: dict[str, StubPod]
) -> None:
    await front.put(**{MODELS: model("minilm", adapters=LEGAL, resources={"profile": "l4"})})
    async with client.get(f"{front.common}/health") as got:
        said = await got.json()
    assert (said["type"], said["status"]) == ("gateway", "healthy")
    assert said["live_gpu_types"] == ["l4"]
    assert said["cluster"] == {"worker_count": 3, "gpu_count": 3, "models_loaded": 3}
    assert {each["name"] for each in said["workers"]} == set(pods)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/pools", 400),
        ("GET", "/v1/pools/a", 404),
        ("DELETE", "/v1/pools/a", 404),
        ("POST", "/v1/pools/a/renew", 400),
    ],
)
async def test_pools_are_refused_in_the_form_that_sies_client_prints(
    front: Gateway, client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    async with client.request(method, front.common + path, data=b"{}") as got:
        assert got.status == status
        assert "there are no pools here" in (await got.json())["detail"]["message"]


async def test_what_names_no_model_is_no_request(
    front: Gateway, client: aiohttp.ClientSession
) -> None:
    async with client.get(f"{front.common}/info") as got:
        assert got.status == 404
        assert "GET /v1/models" in (await got.json())["error"]
    async with client.put(f"{front.common}/v1/embeddings", data=b"{}") as got:
        assert got.status == 405


async def test_asking_for_the_health_or_the_list_of_a_model_wakes_it_not(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    await front.asleep()
    async with client.get(f"{front.url}/health") as got:
        said = await got.json()
        assert (said["status"], said["cluster"]["worker_count"]) == ("healthy", 0)
        assert got.headers["Connection"] == "close"
    async with client.get(f"{front.url}/v1/models") as got:
        assert [each["id"] for each in (await got.json())["data"]] == ["minilm"]
    assert front.woken == []
    await front.awake(await stub())
    async with client.get(f"{front.url}/health") as got:
        assert await got.json() == {"pod": "pod-1", "body": ""}


async def test_two_pods_share_what_comes_and_an_adapter_stays_with_one(
    front: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    pods = [await stub(f"pod-{number}") for number in range(3)]
    await front.asleep(adapters=LEGAL)
    await front.awake(*pods)
    for _ in range(12):
        await post(client, f"{front.common}/v1/embeddings", b'{"model": "minilm:legal"}')
    assert sorted(len(pod.seen) for pod in pods) == [0, 0, 12]
    asked = [
        post(client, f"{front.common}/v1/embeddings", json.dumps({"model": "minilm"}).encode())
        for _ in range(30)
    ]
    assert {status for status, _ in await asyncio.gather(*asked)} == {200}
    assert all(len(pod.seen) > 0 for pod in pods)
