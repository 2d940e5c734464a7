"""Adapters over both ports: the admin port loads, lists and removes, the public one serves them by name."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kubeembed_runtime.adapters import ToldGolden
from kubeembed_runtime.api.admin import admin_app
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.errors import AdapterDiffers, AdapterMissing, AdapterRefused
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.model.adapters import LoraAdapters
from kubeembed_runtime.model.lora import LoraAdapter


def loaded(name: str, folder: Path) -> LoraAdapter:
    if folder == Path("/gone"):
        raise AdapterMissing(f"{folder} is not there")
    if folder == Path("/bad"):
        raise AdapterRefused("adapter_config.json has use_dora true; supported: false")
    flat = torch.zeros(25)
    return LoraAdapter(
        name=name,
        fingerprint=f"of {folder}",
        base="acme/m",
        layout=(),
        flat=flat,
        table=torch.zeros(0),
        order={},
    )


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle("minilm")


@pytest.fixture
async def client(lifecycle: Lifecycle, fake_model: Any) -> AsyncIterator[httpx.AsyncClient]:
    fake_model.registry = LoraAdapters(loaded, model="minilm", max_bytes=150, max_loaded=10)
    lifecycle.ready(fake_model)
    transport = httpx.ASGITransport(admin_app(lifecycle, Metrics("1.2.3")))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        yield client


def shown(name: str, path: str = "/one") -> dict[str, Any]:
    known = {"name": name, "path": path, "loaded": True, "bytes": 100}
    rest = {"base": "acme/m", "error": None, "reason": None}
    return {**known, "fingerprint": f"of {path}", **rest}


async def test_an_adapter_is_loaded_listed_replaced_and_removed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/adapters")).json() == {"adapters": []}
    put = await client.put("/adapters/legal", json={"path": "/one"})
    assert (put.status_code, put.json()) == (200, shown("legal"))
    assert (await client.get("/adapters")).json() == {"adapters": [shown("legal")]}
    await client.put("/adapters/legal", json={"path": "/two"})
    assert (await client.get("/adapters")).json() == {"adapters": [shown("legal", "/two")]}
    assert (await client.delete("/adapters/legal")).status_code == 204
    assert (await client.get("/adapters")).json() == {"adapters": []}


async def test_one_without_tensors_in_memory_is_listed_as_such(client: httpx.AsyncClient) -> None:
    for name in ("legal", "medical"):
        await client.put(f"/adapters/{name}", json={"path": "/one"})
    resting = {"name": "legal", "path": "/one", "loaded": False}
    resting |= dict.fromkeys(("bytes", "fingerprint", "base", "error", "reason"))
    told = (await client.get("/adapters")).json()
    assert told == {"adapters": [resting, shown("medical")]}


async def test_one_that_could_not_be_loaded_says_why_until_it_can(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    fake_model.registry.declare("legal", Path("/bad"))
    with pytest.raises(AdapterRefused):
        fake_model.registry.find("legal").result()
    [told] = (await client.get("/adapters")).json()["adapters"]
    said = (
        "adapter 'legal' cannot be served: adapter_config.json has use_dora true; supported: false"
    )
    assert (told["path"], told["loaded"], told["error"]) == ("/bad", False, said)
    assert told["reason"] == "AdapterRefused"
    await client.put("/adapters/legal", json={"path": "/one"})
    assert (await client.get("/adapters")).json() == {"adapters": [shown("legal")]}


@pytest.mark.parametrize(
    ("name", "body", "status", "said"),
    [
        (
            "legal",
            b'{"path": "/bad"}',
            422,
            "adapter 'legal' cannot be served: adapter_config.json",
        ),
        ("legal", b'{"path": "/gone"}', 404, "cannot be served: /gone is not there"),
        ("legal", b'{"path": "one"}', 400, "matching regex '^/'"),
        ("legal", b'{"folder": "/one"}', 400, "unknown field `folder`"),
        ("legal", b"{}", 400, "missing required field `path`"),
        ("legal", b'{"path": "/one", "golden": {"lines": ""}}', 400, "required field `minCosine`"),
        ("legal", b"path", 400, "JSON is malformed"),
        ("Legal!", b'{"path": "/one"}', 400, "matching regex '^[a-z0-9]"),
        ("x" * 64, b'{"path": "/one"}', 400, "length <= 63"),
    ],
    ids=[
        "refused",
        "gone",
        "relative",
        "other field",
        "no field",
        "no cosine",
        "no JSON",
        "name",
        "long name",
    ],
)
async def test_what_cannot_be_loaded_is_told_and_changes_nothing(
    client: httpx.AsyncClient, name: str, body: bytes, status: int, said: str
) -> None:
    await client.put("/adapters/legal", json={"path": "/one"})
    reply = await client.put(f"/adapters/{name}", content=body)
    assert reply.status_code == status
    assert said in reply.json()["error"]
    assert (await client.get("/adapters")).json() == {"adapters": [shown("legal")]}


async def test_one_whose_vectors_are_not_the_golden_ones_is_told_by_its_reason(
    client: httpx.AsyncClient, fake_model: Any
) -> None:
    await client.put("/adapters/legal", json={"path": "/one"})

    def prove(adapter: Any, golden: Any) -> None:
        raise AdapterDiffers(f"{adapter.name} has cosine 0.5 to {golden}")

    fake_model.registry.prove = prove
    body = {"path": "/two", "golden": {"lines": "{}", "minCosine": 0.9}}
    reply = await client.put("/adapters/legal", json=body)
    told = ToldGolden(lines="{}", min_cosine=0.9)
    said = f"adapter 'legal' cannot be served: legal has cosine 0.5 to {told}"
    assert (reply.status_code, reply.json()) == (422, {"error": said, "reason": "GoldenMismatch"})
    assert (await client.get("/adapters")).json() == {"adapters": [shown("legal")]}


async def test_removing_what_is_not_there_tells_what_is(client: httpx.AsyncClient) -> None:
    await client.put("/adapters/legal", json={"path": "/one"})
    reply = await client.delete("/adapters/medical")
    said = "model 'minilm:medical' is not served here; have: minilm, minilm:legal"
    assert (reply.status_code, reply.json()) == (404, {"error": said})


async def test_before_the_model_is_loaded_there_are_no_adapters() -> None:
    transport = httpx.ASGITransport(admin_app(Lifecycle("minilm"), Metrics("1.2.3")))
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        for reply in (
            await client.get("/adapters"),
            await client.put("/adapters/legal", json={"path": "/one"}),
            await client.delete("/adapters/legal"),
        ):
            assert reply.status_code == 503
            assert "still loading" in reply.json()["error"]


def write_adapter(folder: Path, seed: int, **config: Any) -> Path:
    """An adapter of MiniLM, as PEFT would have saved it."""
    folder.mkdir()
    told = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["query", "value"]}
    (folder / "adapter_config.json").write_text(json.dumps({**told, **config}))
    torch.manual_seed(seed)
    tensors = {}
    for layer in range(6):
        for part in ("query", "value"):
            path = f"base_model.model.encoder.layer.{layer}.attention.self.{part}"
            tensors[f"{path}.lora_A.weight"] = torch.randn(8, 384) * 0.1
            tensors[f"{path}.lora_B.weight"] = torch.randn(384, 8) * 0.1
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def until_ready(process: Any) -> None:
    """Asks the admin port until it says so, which is what kubelet does."""
    while process.admin("/readyz")[0] != 200:
        assert process.popen.poll() is None, process.log.read_text()
        time.sleep(0.05)


def test_a_document_s_adapters_are_served_by_name_and_changed_while_serving(
    minilm: Path, document: Callable[..., dict[str, Any]], start: Any, tmp_path: Path
) -> None:
    good = write_adapter(tmp_path / "good", 1)
    other = write_adapter(tmp_path / "other", 2)
    bad = write_adapter(tmp_path / "bad", 3, use_dora=True)
    written = document(minilm)
    written["spec"]["adapters"] = [
        {"name": "legal", "source": f"file://{good}"},
        {"name": "bad", "source": f"file://{bad}"},
    ]
    process = start(written, "--linger", "0")
    until_ready(process)

    def ask(model: str) -> tuple[int, dict[str, Any], str]:
        body = json.dumps({"model": model, "input": "hello"}).encode()
        url = f"http://127.0.0.1:{process.port}/v1/embeddings"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                mark = reply.headers["x-kubeembed-fingerprint"]
                return reply.status, json.loads(reply.read()), mark
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read()), ""

    def vector(model: str) -> tuple[Any, str]:
        status, body, mark = ask(model)
        assert status == 200, body
        return np.array(body["data"][0]["embedding"]), mark

    admin = f"http://127.0.0.1:{process.admin_port}/adapters"
    (base, base_mark), (legal, legal_mark) = vector("minilm"), vector("minilm:legal")
    assert base @ legal < 0.99
    assert base_mark != legal_mark
    status, told, _ = ask("minilm:bad")
    assert (status, told["error"]["code"]) == (503, "adapter_unavailable")
    assert "use_dora true; supported: false" in told["error"]["message"]
    assert httpx.put(f"{admin}/legal", json={"path": str(other)}).status_code == 200
    replaced, replaced_mark = vector("minilm:legal")
    assert replaced @ legal < 0.99
    assert len({base_mark, legal_mark, replaced_mark}) == 3
    assert httpx.delete(f"{admin}/legal").status_code == 204
    status, told, _ = ask("minilm:legal")
    assert (status, told["error"]["code"]) == (404, "model_not_found")
    assert vector("minilm") == (pytest.approx(base), base_mark)
    assert "adapter bad is not served: adapter 'bad' cannot" in process.log.read_text()
