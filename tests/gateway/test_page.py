"""The page over HTTP: what leads there, what it forbids the browser, and that it can be left out."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from gatewaykit import Gateway, gateway
from kubeembed_gateway.front import HEALTH_PATHS, LIST_PATHS
from kubeembed_gateway.refusals import COHERE_PATHS, SIE_PATHS, TEI_PATHS
from runtimekit import free_ports

#: A kubeconfig of an API server that is not there.
NOBODY = {
    "current-context": "nobody",
    "contexts": [{"name": "nobody", "context": {"cluster": "nobody", "user": "nobody"}}],
    "clusters": [{"name": "nobody", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "nobody", "user": {}}],
}
HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/ui/", "text/html"),
        ("/ui/page.css", "text/css"),
        ("/ui/page.js", "text/javascript"),
        ("/ui/icon.svg", "image/svg+xml"),
        ("/ui/data.json", "application/json"),
    ],
)
async def test_the_browser_may_load_run_and_ask_nothing_but_this_address(
    front: Gateway, client: aiohttp.ClientSession, path: str, kind: str
) -> None:
    async with client.get(front.common + path) as got:
        assert (got.status, got.content_type) == (200, kind)
        policy = got.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert "://" not in (await got.text()).replace("http://www.w3.org/2000/svg", "")


async def test_a_person_is_led_there_and_a_probe_is_not(
    front: Gateway, client: aiohttp.ClientSession
) -> None:
    for path, headers in (("/", HTML), ("/ui", {})):
        async with client.get(front.common + path, headers=headers, allow_redirects=False) as got:
            assert (got.status, got.headers["Location"]) == (302, "ui/")
    async with client.get(f"{front.common}/", headers=HTML) as got:
        assert str(got.url) == f"{front.common}/ui/"
    async with client.get(f"{front.common}/") as got:
        assert (await got.json())["status"] == "healthy"


async def test_nothing_of_it_is_there_where_it_is_not_wanted(client: aiohttp.ClientSession) -> None:
    async with gateway(page=False) as front:
        for path in ("/ui", "/ui/", "/ui/data.json"):
            async with client.get(front.common + path) as got:
                assert got.status == 404
        async with client.get(f"{front.common}/", headers=HTML) as got:
            assert (await got.json())["status"] == "healthy"


def test_no_contract_has_a_path_that_begins_so() -> None:
    paths = {*COHERE_PATHS, *TEI_PATHS, *SIE_PATHS, *HEALTH_PATHS, *LIST_PATHS}
    assert not [path for path in paths if path.startswith("/ui")]


@pytest.mark.parametrize(("flags", "status"), [((), 200), (("--no-page",), 404)], ids=str)
async def test_a_process_serves_it_as_it_is_told_whatever_the_api_server_does(
    client: aiohttp.ClientSession, tmp_path: Path, flags: tuple[str, ...], status: int
) -> None:
    port, admin_port = free_ports(2)
    command = [sys.executable, "-m", "kubeembed_gateway", "--host", "127.0.0.1", *flags]
    command += ["--port", str(port), "--admin-port", str(admin_port)]
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(yaml.safe_dump(NOBODY))
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    process = await asyncio.create_subprocess_exec(*command, env=environ, stderr=DEVNULL)
    url = f"http://127.0.0.1:{port}/ui/data.json"
    try:
        async with asyncio.timeout(30):
            while (got := await answered(client, url)) is None:
                await asyncio.sleep(0.1)
    finally:
        process.kill()
        await process.wait()
    assert got[0] == status
    if status == 200:
        assert got[1]["gateway"]["name"] == socket.gethostname()
        assert (got[1]["models"], got[1]["history"]["until"] > 0) == ([], True)


async def answered(client: aiohttp.ClientSession, url: str) -> tuple[int, Any] | None:
    """None where nobody listens yet."""
    try:
        async with client.get(url) as got:
            return got.status, await got.json()
    except aiohttp.ClientConnectorError:
        return None


async def test_a_models_own_port_has_no_page(front: Gateway, client: aiohttp.ClientSession) -> None:
    await front.asleep()
    async with client.get(f"{front.url}/", headers=HTML) as got:
        assert (await got.json())["status"] == "healthy"
