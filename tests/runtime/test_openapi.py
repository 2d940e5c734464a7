"""/openapi.json says what the routes do, and /docs shows it without anything from elsewhere."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.edge import Edge, Keys
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.api.operation import DescribedRoute
from kubeembed_runtime.lifecycle import Lifecycle


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    file = tmp_path / "keys"
    file.write_text("key\n")
    return Keys(file)


@pytest.fixture
def app() -> FastAPI:
    return public_app(Lifecycle("minilm"), Metrics("0"))


@pytest.fixture
async def description(app: FastAPI) -> dict[str, Any]:
    return await _described(app)


async def _described(app: FastAPI) -> dict[str, Any]:
    async with _client(app) as client:
        reply = await client.get("/openapi.json")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    found: dict[str, Any] = reply.json()
    return found


def _client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://minilm")


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _operations(description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }


async def test_every_path_of_a_contract_is_described(
    app: FastAPI, description: dict[str, Any]
) -> None:
    served = {
        f"{one.method} {re.sub(':name', '', one.path)}"
        for one in app.routes
        if isinstance(one, DescribedRoute) and one.contract != "docs"
    }
    assert set(_operations(description)) == served
    assert {"POST /v1/embeddings", "GET /v1/models/{name}", "GET /health"} <= served


async def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    references = set(_references(description))
    assert "#/components/schemas/EmbeddingsBody" in references
    for reference in references:
        found: Any = description
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


async def test_an_operation_is_described_whole(description: dict[str, Any]) -> None:
    embeddings = _operations(description)["POST /v1/embeddings"]
    bodies = {"application/json": {"schema": {"$ref": "#/components/schemas/EmbeddingsBody"}}}
    assert embeddings["requestBody"] == {"required": True, "content": bodies}
    statuses = ["200", "400", "404", "408", "412", "413", "415", "429", "500", "503", "504"]
    assert list(embeddings["responses"]) == statuses
    too_many = embeddings["responses"]["429"]
    (reference,) = set(_references(too_many["content"]))
    assert re.fullmatch(r"#/components/schemas/(openai_errors\.)?ErrorBody", reference)
    assert set(too_many["headers"]) == {"x-request-id", "x-kubeembed-fingerprint", "retry-after"}
    assert "security" not in embeddings


async def test_names_of_operations_are_unique(description: dict[str, Any]) -> None:
    names = [one["operationId"] for one in _operations(description).values()]
    assert len(set(names)) == len(names)


async def test_limits_stand_in_the_schema(description: dict[str, Any]) -> None:
    body = description["components"]["schemas"]["EmbeddingsBody"]
    assert body["additionalProperties"] is False
    assert body["required"] == ["model", "input"]
    forms = body["properties"]["input"]["allOf"][0]["anyOf"]
    assert [form.get("maxItems") for form in forms] == [None, 2048, None, 2048]


async def test_keys_are_described_where_they_are_asked_for(keys: Keys) -> None:
    app = public_app(Lifecycle("minilm"), Metrics("0"), Edge(keys=keys))
    description = await _described(app)  # itself open
    scheme = {"key": {"type": "http", "scheme": "bearer"}}
    assert description["components"]["securitySchemes"] == scheme
    operations = _operations(description)
    assert operations["POST /v1/embeddings"]["security"] == [{"key": []}]
    assert "401" in operations["POST /v1/embeddings"]["responses"]
    assert "security" not in operations["GET /health"]
    assert "401" not in operations["GET /health"]["responses"]


@pytest.fixture
async def docs(app: FastAPI) -> AsyncIterator[httpx.Response]:
    async with _client(app) as client:
        yield await client.get("/docs")


async def test_the_page_fetches_nothing(docs: httpx.Response) -> None:
    assert docs.status_code == 200
    assert docs.headers["content-type"] == "text/html; charset=utf-8"
    assert docs.headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.findall(r"<script|<link|<img|src=|https?://|url\(", docs.text)


async def test_the_page_has_every_operation_and_body(
    docs: httpx.Response, description: dict[str, Any]
) -> None:
    for operation in _operations(description).values():
        assert f'id="{operation["operationId"]}"' in docs.text
    for link in re.findall(r'href="#([^"]+)"', docs.text):
        assert f'id="{link}"' in docs.text


async def test_a_name_cannot_write_html() -> None:
    app = public_app(Lifecycle("<script>alert(1)</script>"), Metrics("0"))
    async with _client(app) as client:
        assert "<script>" not in (await client.get("/docs")).text
