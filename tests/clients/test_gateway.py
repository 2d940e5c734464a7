"""Unmodified clients before a sleeping model that holds nothing: each comes again by itself."""

import asyncio
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clientkit import CLIENTS, python, tour
from gatewaykit import COMMON_PORT, PORT, Gateway, gateway, model, service, slice_of
from kubeembed_gateway.table import MODELS, SERVICES, SLICES
from runtimekit import Process
from stubkit import launch_stub

DOCS = CLIENTS.parents[1] / "docs" / "gateway.md"
#: Seconds: what clients are told to wait, and until there is a pod.
TOLD, STARTS = 2, 0.5


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = launch_stub(tmp_path_factory.mktemp("pod"), "--name", "minilm").until_ready()
    yield process
    process.end()


async def starting(
    front: Gateway, pod: Process, begun: threading.Event, end: asyncio.Event
) -> None:
    """A model that sleeps, and starts when it is woken."""
    status = {"lastColdStart": {"totalSeconds": TOLD}}
    spec = {"scaling": {"hold": {"requests": 0}}}
    await front.put(
        **{
            MODELS: model("minilm", status=status, **spec),
            SERVICES: service("minilm"),
            SLICES: slice_of("minilm"),
        }
    )
    begun.set()
    while not front.woken and not end.is_set():
        await asyncio.sleep(0.05)
    await asyncio.sleep(STARTS)
    await front.put(**{SLICES: slice_of("minilm", ("pod-1", pod.port))})
    await end.wait()


@contextmanager
def sleeping(pod: Process) -> Iterator[None]:
    begun, loop, end = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        async with gateway() as front:
            await starting(front, pod, begun, end)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert begun.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()


@pytest.mark.parametrize("port", [PORT, COMMON_PORT], ids=["own port", "common"])
@pytest.mark.parametrize("client", ["openai", "cohere"])
def test_a_client_comes_again_by_itself(pod: Process, client: str, port: int) -> None:
    with sleeping(pod):
        assert int(tour("http", "asleep_http", client, f"http://127.0.0.1:{port}")) == 1


def test_sies_client_comes_again_by_itself_and_reads_the_lists(pod: Process) -> None:
    with sleeping(pod):
        assert int(tour("sie", "asleep_sie", f"http://127.0.0.1:{COMMON_PORT}")) == 1


def test_of_a_crowd_each_is_answered_at_last(pod: Process) -> None:
    """Nobody is held; the clients do the rest. Once there is a pod nobody is sent away any more."""
    url = f"http://127.0.0.1:{PORT}"
    with sleeping(pod):
        said = json.loads(tour("http", "crowd_http", url, "minilm", "24", "12"))
    assert {client: answers for client, (answers, _) in said.items()} == {
        "openai": 24,
        "cohere": 12,
    }
    with sleeping(pod):
        said = json.loads(tour("sie", "crowd_sie", url, "minilm", "12"))
    assert said["sie"][0] == 12


def test_what_the_documentation_shows_runs(pod: Process) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    url = f"http://127.0.0.1:{COMMON_PORT}"
    code = snippet.replace("http://kubeembed-gateway.kubeembed-system.svc", url)
    with sleeping(pod):
        command = [str(python("http")), "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("384\n", 0), done.stderr
