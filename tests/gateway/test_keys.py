"""API keys of the common address: whose they are, that nothing is woken without one, and where they end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gatewaykit import NAMESPACE, Gateway, StubPod, gateway, model, service, slice_of
from kubeembed_gateway import keys as keys_room
from kubeembed_gateway.errors import Refused
from kubeembed_gateway.keys import Keys, KeysError
from kubeembed_gateway.table import MODELS, SERVICES, SLICES

Stub = Callable[..., Awaitable[StubPod]]

FILES = {
    "search": "# of the team\n\nours\nalso-ours\n",
    "search.bge": "bge-alone\n",
    "shut": "# nobody\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As kubelet mounts a Secret: the files are links through a link that is changed at once."""
    return mounted(tmp_path / "our-keys", "..1", FILES)


def mounted(folder: Path, version: str, files: dict[str, str]) -> Path:
    (folder / version).mkdir(parents=True)
    for name, text in files.items():
        (folder / version / name).write_text(text)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    (folder / "..new").symlink_to(version)
    (folder / "..new").rename(folder / "..data")
    for link in folder.iterdir():
        if link.is_symlink() and not link.exists():
            link.unlink()
    return folder


@pytest.fixture
async def keyed(folder: Path) -> AsyncIterator[Gateway]:
    async with gateway(keys=folder) as made:
        yield made


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        (("search", "minilm"), "Bearer ours"),
        (("search", "minilm"), "bearer  also-ours "),
        (("search", "bge"), "Bearer bge-alone"),
    ],
)
def test_a_key_of_its_own_or_of_its_namespace_opens_a_model(
    folder: Path, key: tuple[str, str], sent: str
) -> None:
    assert Keys(folder).check(key, sent)


@pytest.mark.parametrize(
    ("key", "sent", "words"),
    [
        (("search", "minilm"), None, "an API key is needed; send Authorization: Bearer KEY"),
        (("search", "minilm"), "Basic ours", "the scheme of Authorization is 'Basic'; send"),
        (("search", "minilm"), "Bearer our", "the API key is not known; send"),
        (("search", "minilm"), "Bearer # of the team", "not known"),
        (("search", "minilm"), "Bearer ", "not known"),
        (("search", "minilm"), "Bearer \udcff", "not known"),
        (("search", "minilm"), "Bearer bge-alone", "not known"),
        (("search", "bge"), "Bearer ours", "not known"),
        (("shut", "minilm"), "Bearer # nobody", "not known"),
    ],
)
def test_without_one_it_is_refused(
    folder: Path, key: tuple[str, str], sent: str | None, words: str
) -> None:
    with pytest.raises(Refused, match=words) as refused:
        Keys(folder).check(key, sent)
    assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")


def test_a_model_that_no_file_is_about_asks_for_none(folder: Path) -> None:
    assert not Keys(folder).check(("other", "minilm"), None)
    assert not Keys().check(("search", "minilm"), None)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "has no key; write NAMESPACE or NAMESPACE.MODEL"),
        ({"search.minilm.txt": "a"}, "'search.minilm.txt' names no model"),
        ({"Search": "a"}, "'Search' names no model"),
        ({".search": "a"}, "'.search' names no model"),
    ],
)
def test_what_is_no_entry_keeps_the_gateway_from_starting(
    tmp_path: Path, files: dict[str, str], words: str
) -> None:
    with pytest.raises(KeysError, match=words):
        Keys(mounted(tmp_path / "keys", "..1", files))


def test_a_folder_that_cannot_be_read_keeps_it_from_starting(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match=f"API keys of {tmp_path}/none: "):
        Keys(tmp_path / "none")
    (tmp_path / "search").write_bytes(b"\xff")
    with pytest.raises(KeysError, match="codec can't decode"):
        Keys(tmp_path)


async def test_a_change_of_the_mount_is_taken_over_and_a_broken_one_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_room, "REREAD_SECONDS", 0.01)
    keys, key = Keys(folder), ("search", "minilm")
    follow = asyncio.create_task(keys.follow())
    mounted(folder, "..2", {"search": "newer"})
    async with asyncio.timeout(10):
        while not opens(keys, key, "newer"):
            await asyncio.sleep(0.01)
    assert not opens(keys, key, "ours")
    assert opens(keys, ("shut", "minilm"), "")  # its file is gone
    mounted(folder, "..3", {"search": "newest", "no.model.at.all": "x"})
    await asyncio.sleep(0.1)
    assert opens(keys, key, "newer")
    assert not opens(keys, key, "newest")
    follow.cancel()


def opens(keys: Keys, key: tuple[str, str], sent: str) -> bool:
    try:
        keys.check(key, f"Bearer {sent}")
    except Refused:
        return False
    return True


async def ask(client: aiohttp.ClientSession, url: str, key: str | None) -> tuple[int, Any, Any]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    body = {"model": "minilm", "input": "a"}
    async with client.post(f"{url}/v1/embeddings", json=body, headers=headers) as got:
        return got.status, await got.json(), got.headers


@pytest.mark.parametrize("key", [None, "other"])
async def test_without_a_key_nothing_is_held_or_woken(
    keyed: Gateway, client: aiohttp.ClientSession, key: str | None
) -> None:
    await keyed.asleep()
    status, body, headers = await ask(client, keyed.common, key)
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert body["error"]["code"] == "invalid_api_key"
    assert keyed.woken == []
    assert keyed.counted("requests_total", namespace=NAMESPACE, model="minilm", status="401") == 1
    async with client.post(f"{keyed.common}/v1/encode/minilm", data=b"\x80") as sie:
        assert (sie.status, sie.headers["X-SIE-Error-Code"]) == (401, "UNAUTHORIZED")


async def test_a_key_opens_and_goes_no_further(
    keyed: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    await keyed.asleep()
    asked = asyncio.create_task(ask(client, keyed.common, "ours"))
    await keyed.until_held(1)
    pod = await stub()
    await keyed.awake(pod)
    assert (await asked)[0] == 200
    assert "Authorization" not in pod.seen[0].headers


async def test_pods_that_ask_for_keys_get_the_same_one(
    keyed: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    pod = await stub()
    await keyed.asleep(serving={"apiKeysSecret": "keys"})
    await keyed.awake(pod)
    assert (await ask(client, keyed.common, "ours"))[0] == 200
    assert pod.seen[0].headers["Authorization"] == "Bearer ours"


async def test_a_header_that_the_gateway_did_not_ask_for_is_the_pods(
    keyed: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    pod = await stub()
    slices = slice_of("minilm", (pod.name, pod.port), namespace="other")
    await keyed.put(**{MODELS: model(namespace="other"), SLICES: slices})
    assert (await ask(client, keyed.common, "anything"))[0] == 200
    assert pod.seen[0].headers["Authorization"] == "Bearer anything"


async def test_lists_health_and_a_models_own_address_ask_for_none(
    keyed: Gateway, client: aiohttp.ClientSession, stub: Stub
) -> None:
    await keyed.put(**{MODELS: model(), SERVICES: service()})
    for path in ("/health", "/v1/models", "/v1/models/minilm"):
        async with client.get(f"{keyed.common}{path}") as got:
            assert got.status == 200
    await keyed.awake(await stub())
    assert (await ask(client, keyed.url, None))[0] == 200
