"""/v1/models: what OpenAI's clients and SIE's read in one reply, from the first moment."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.errors import UnknownModel
from kubeembed_runtime.lifecycle import Lifecycle

LIMITS = {
    "max_inputs": 2048,
    "max_tokens_per_request": 300_000,
    "max_body_bytes": 16 * 1024 * 1024,
    "max_bodies_bytes": 128 * 1024 * 1024,
    "max_tokens": 256,
    "max_characters": 131_072,
    "max_characters_chunked": 1_048_576,
}
KEPT = {
    "inputs": ["text"],
    "last_error": None,
    "capabilities": None,
    "routing": {"policy": None, "upstream_kind": None},
    "aliases": [],
}
DEFAULT = {"is_default": True, "lora": None, "fingerprint": "f00d"}


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle("minilm")


def _loaded(lifecycle: Lifecycle, **more: Any) -> dict[str, Any]:
    about: dict[str, Any] = {
        "name": "minilm",
        "outputs": ["dense"],
        "dims": {"dense": 3},
        "loaded": True,
        "state": "loaded",
        "max_sequence_length": 256,
        "revision": None,
        "profiles": {"default": DEFAULT},
        "fingerprint": "f00d",
        "kubeembed": {
            "limits": LIMITS,
            "prompts": [],
            "labels": [],
            "instructed": False,
            "pooling": "mean",
            "normalize": True,
            "dtype": "float32",
            "device": "cpu",
        },
    }
    return KEPT | about | more


def _card(lifecycle: Lifecycle, name: str) -> dict[str, Any]:
    owner = {"object": "model", "owned_by": "kubeembed", "created": lifecycle.created}
    return {"id": name, **owner}


async def test_the_list_is_openai_s_and_sie_s(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any
) -> None:
    lifecycle.ready(fake_model)
    reply = await client.get("/v1/models")
    assert reply.status_code == 200
    assert reply.json() == {
        "object": "list",
        "data": [_card(lifecycle, "minilm")],
        "models": [_loaded(lifecycle)],
    }


async def test_an_adapter_is_a_name_for_openai_and_a_profile_for_sie(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any
) -> None:
    fake_model.adapters = ("medical", "legal")
    loaded = SimpleNamespace(fingerprint="beef")
    fake_model.registry = SimpleNamespace(
        states=[
            SimpleNamespace(name="medical", loaded=loaded),
            SimpleNamespace(name="legal", loaded=None),
        ]
    )
    lifecycle.ready(fake_model)
    profiles = {
        "default": DEFAULT,
        "medical": {"is_default": False, "lora": "medical", "fingerprint": "beef"},
        "legal": {"is_default": False, "lora": "legal", "fingerprint": None},
    }
    listed = (await client.get("/v1/models")).json()
    names = ["minilm", "minilm:medical", "minilm:legal"]
    assert [card["id"] for card in listed["data"]] == names
    assert listed["models"] == [_loaded(lifecycle, profiles=profiles)]
    for name, fingerprint in zip(names, ("f00d", "beef", None), strict=True):
        shown = (await client.get(f"/v1/models/{name}")).json()
        about = {"name": name, "fingerprint": fingerprint, "profiles": profiles}
        assert shown == _loaded(lifecycle, **about) | _card(lifecycle, name)


async def test_the_widths_are_of_the_vectors_that_there_are(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any
) -> None:
    fake_model.info = RuntimeInfo(
        name="minilm",
        dimensions=1024,
        max_tokens=8192,
        outputs=("dense", "sparse", "multivector", "score"),
        output_dimensions={"dense": 1024, "sparse": 250002, "multivector": 128, "score": 1},
        dtype="float16",
        device="cuda",
        fingerprint="f00d",
    )
    lifecycle.ready(fake_model)
    shown = (await client.get("/v1/models/minilm")).json()
    assert shown["dims"] == {"dense": 1024, "sparse": 250002, "multivector": 128}
    assert shown["outputs"] == ["dense", "sparse", "multivector", "score"]


async def test_a_model_is_listed_while_it_loads(
    client: httpx.AsyncClient, lifecycle: Lifecycle
) -> None:
    for path in ("/v1/models", "/v1/models/minilm"):
        reply = await client.get(path)
        assert reply.status_code == 200
        shown = reply.json()["models"][0] if path == "/v1/models" else reply.json()
        assert (shown["name"], shown["loaded"], shown["state"]) == ("minilm", False, "loading")


async def test_a_model_whose_device_died_has_failed(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any
) -> None:
    fake_model.alive = False
    lifecycle.ready(fake_model)
    shown = (await client.get("/v1/models/minilm")).json()
    assert (shown["loaded"], shown["state"]) == (False, "failed")


@pytest.mark.parametrize("name", ["other", "org/other", "minilm:none", "org%2Fother", "a%00b"])
async def test_a_model_that_is_not_there_is_not_found(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_model: Any, name: str
) -> None:
    lifecycle.ready(fake_model)
    reply = await client.get(f"/v1/models/{name}")
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "model_not_found"


def test_the_namespace_may_stand_before_the_name(fake_model: Any) -> None:
    fake_model.adapters = ("legal",)
    lifecycle = Lifecycle("minilm", "search")
    lifecycle.ready(fake_model)
    assert lifecycle.adapter("search/minilm") is None
    assert lifecycle.adapter("search/minilm:legal") == "legal"
    for wrong in ("other/minilm", "search/minilm:", "search/", "search/search/minilm"):
        with pytest.raises(UnknownModel):
            lifecycle.adapter(wrong)
