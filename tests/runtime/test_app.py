"""The application's short way to a path is its long way, which CORS and traces need."""

import httpx
import pytest

from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.edge import Edge
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.lifecycle import Lifecycle

BODY = b'{"model": "minilm", "input": "a"}'


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/embeddings", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/minilm", 200),
        ("GET", "/v1/models/none", 404),
        ("GET", "/openapi.json", 200),
        ("POST", "/embed", 422),
        ("GET", "/v1/embeddings", 405),
        ("HEAD", "/v1/models", 200),
        ("POST", "/v1/embeddings/", 307),
        ("GET", "/nothing", 404),
    ],
)
async def test_both_ways_answer_the_same(
    lifecycle: Lifecycle, method: str, path: str, status: int
) -> None:
    replies = []
    for origins in ((), ("https://app.example",)):
        app = public_app(lifecycle, Metrics("0"), Edge(origins=origins))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
            headers = {"x-request-id": "1", "content-type": "application/json"}
            content = BODY if method == "POST" else None
            replies.append(await client.request(method, path, content=content, headers=headers))
    short, long = replies
    assert (short.status_code, short.content) == (long.status_code, long.content)
    assert long.headers.pop("vary") == "Origin"
    assert short.headers == long.headers
    assert short.status_code == status
