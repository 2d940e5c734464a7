"""The page in a real browser, before a gateway with stub pods: empty, busy, failing; and texts tried.

With KUBEEMBED_SHOTS=FOLDER its pictures are kept there, for a person to look at.
"""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from browserkit import DESK, PHONE, Browser, browsing, overflow, shot, texts_of
from gatewaykit import NAMESPACE, Gateway, StubPod, model, service, slice_of
from kubeembed_gateway.history import POINTS
from kubeembed_gateway.table import MODELS, SERVICES, SLICES

pytestmark = [pytest.mark.programs, pytest.mark.timeout(120)]

Stub = Callable[..., Awaitable[StubPod]]
#: As long as Kubernetes and the document let them be, and what a name may not but a message may hold.
LONG = "multilingual-e5-large-instruct-quantised-v2b"
MARKUP = "<img src=x onerror=alert(1)> & <script>document.title='owned'</script>"
KEY = "sk-right"

VECTORS = {"a wing": [1.0, 0.0, 0.0], "a bird": [0.6, 0.8, 0.0], "a bank": [0.0, 0.0, 2.0]}
SIMILAR = [
    ["cosine", "1", "2", "3"],
    ["1 a wing", "1.000", "0.600", "0.000"],
    ["2 a bird", "0.600", "1.000", "0.000"],
    ["3 a bank", "0.000", "0.000", "1.000"],
]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with browsing() as made:
        yield made


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("KUBEEMBED_SHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def condition(status: str, reason: str, message: str = "") -> list[dict[str, str]]:
    return [{"type": "Ready", "status": status, "reason": reason, "message": message}]


async def embed(request: web.BaseRequest) -> web.StreamResponse:
    """As a pod does whose model asks for a key."""
    asked = json.loads(await request.read())
    if request.headers.get("Authorization") != f"Bearer {KEY}":
        return web.json_response({"error": {"message": "the API key is not known"}}, status=401)
    vectors = [VECTORS[text] for text in asked["input"]]
    data = [{"index": index, "embedding": each} for index, each in enumerate(vectors)]
    return web.json_response({"data": data, "model": asked["model"]})


async def put(front: Gateway, name: str, pods: int, port: int = 0, **given: Any) -> None:
    slices = slice_of(name, *((f"{name}-{number}", port or 9) for number in range(pods)))
    await front.put(**{MODELS: model(name, **given), SLICES: slices})


@contextmanager
def in_hand(front: Gateway, count: int, held: int) -> Iterator[None]:
    """So many requests for minilm, and of them so many that wait."""
    with ExitStack() as stack:
        for number in range(count):
            stack.enter_context(front.activity.request((NAMESPACE, "minilm")))
            if number < held:
                stack.enter_context(front.activity.wait((NAMESPACE, "minilm")))
        yield


async def busy(front: Gateway) -> None:
    """Models in every state; the last hour of minilm's requests is a hill."""
    status = {
        "conditions": condition("True", "Ready"),
        "replicas": {"desired": 3},
        "model": {"dimensions": 384},
        "lastColdStart": {"totalSeconds": 8.4, "scheduleSeconds": 1.0, "loadSeconds": 2.31},
        "adapters": [
            {"name": "legal", "ready": "3/3", "reason": "Loaded"},
            {"name": "banking", "ready": "1/3", "reason": "Loading", "message": "pods load it"},
        ],
    }
    adapters = [{"name": name, "source": "hf://a/b"} for name in ("legal", "banking")]
    await put(front, "minilm", 2, adapters=adapters, status=status)
    await put(front, LONG, 1, status={"conditions": condition("True", "Ready")})
    asleep = [*condition("True", "Asleep"), {"type": "Asleep", "status": "True"}]
    await front.put(**{MODELS: model("sleepy", status={"conditions": asleep})})
    await front.put(**{SERVICES: service("sleepy")})
    fetching = condition("False", "Fetching", "the Job sleepy-fetch-1 has 3 of 9 files")
    await put(front, "fresh", 0, status={"conditions": fetching})
    for step in range(POINTS - 20):
        height = max(0, 12 - abs(step - 170) // 12)
        if step == 100:
            await put(front, "minilm", 3, adapters=adapters, status=status)
        with in_hand(front, height, height // 3):
            front.history.sample()


async def failing(front: Gateway) -> None:
    """One that cannot start, with markup in what it says, and one whose adapter is refused."""
    said = f"container runtime of Pod {LONG}-7c9f ended with 1: {MARKUP}\n" + "x" * 300
    conditions = condition("False", "CrashLoop", said)
    await put(front, f"{LONG}-x", 0, status={"conditions": conditions, "replicas": {"desired": 1}})
    entry = {"name": "legal", "ready": "0/1", "reason": "AdapterRefused", "message": MARKUP}
    adapters = [{"name": "legal", "source": "hf://a/b"}]
    status = {"conditions": condition("True", "Ready"), "adapters": [entry]}
    await put(front, "bge", 1, adapters=adapters, status=status)


async def test_an_empty_installation_says_what_to_do(
    front: Gateway, browser: Browser, shots: Path
) -> None:
    tab = await browser.open(f"{front.common}/ui/")
    assert "Apply an EmbeddingModel" in await tab.inner_text("#more")
    assert await texts_of(tab, "#sums dd") == [*"00000000", "0 of 64"]
    await tab.click("text=Compare")
    assert await tab.inner_text("#said") == "There is no model to ask."
    await shot(tab, shots, "empty")
    assert browser.logged == []


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_models_are_shown_with_what_is_amiss_and_nothing_is_cut_off(
    front: Gateway, browser: Browser, shots: Path, size: tuple[int, int], scheme: Any
) -> None:
    await busy(front)
    await failing(front)
    with in_hand(front, 5, 2):
        tab = await browser.open(f"{front.common}/ui/", size, scheme)
    await shot(tab, shots, f"busy-{size[0]}-{scheme}")
    names = await texts_of(tab, ".model h3")
    assert names == ["bge", f"{LONG}-x", "fresh", "minilm", LONG, "sleepy"]
    pills = await texts_of(tab, ".name .pill")
    assert pills == ["In trouble", "CrashLoop", "Starting", "Ready", "Ready", "Asleep"]
    facts = await texts_of(tab, ".model:has(h3:text-is('minilm')) .facts dd")
    assert facts[:3] == [
        "3 of 3 ready",
        "0/s, 5 in hand, 2 of them held",
        "8.4 s (schedule 1, load 2.3)",
    ]
    (crash,) = await texts_of(tab, ".trouble:has-text('CrashLoop')")
    assert MARKUP in crash
    assert "Way out: the message has its last words" in crash
    assert await texts_of(tab, ".scale span:nth-child(2)") == [
        *("at most 0 in hand", "at most 0 ready"),
        *("at most 12 in hand", "at most 3 ready"),
        *("at most 0 in hand", "at most 1 ready"),
        *("at most 0 in hand", "at most 0 ready"),
    ]
    assert await overflow(tab) == []
    assert await tab.title() == "KubeEmbed"
    assert browser.logged == []
    assert {url.partition("/ui/")[0] for url in browser.asked} == {front.common}


async def test_texts_are_compared_by_the_path_of_every_client_and_with_its_key(
    front: Gateway, browser: Browser, shots: Path, stub: Stub
) -> None:
    pod = await stub("pod-1", embed)
    await front.asleep(serving={"apiKeysSecret": "keys"})
    tab = await browser.open(f"{front.common}/ui/")
    await tab.fill("[name=texts]", "\n".join(VECTORS))
    await tab.click("text=Compare")
    await tab.wait_for_selector("#said.bad")
    assert "401: model 'minilm' asks for an API key" in await tab.inner_text("#said")
    assert front.woken == []
    await tab.fill("[name=key]", KEY)
    await tab.click("text=Compare")
    await front.until_held(1)
    await front.awake(pod)
    await tab.wait_for_selector("#similar td")
    rows = [await texts_of(row, "th, td") for row in await tab.locator("#similar tr").all()]
    assert [[" ".join(cell.split()) for cell in row] for row in rows] == SIMILAR
    assert (await tab.inner_text("#said")).startswith("3 texts, 3 dimensions, ")
    cells = await tab.locator("#similar tbody tr:first-child td").all()
    shades = {
        await cell.evaluate("(cell) => getComputedStyle(cell).backgroundColor") for cell in cells
    }
    assert len(shades) == 3
    await shot(tab, shots, "tried")
    kept = await tab.evaluate("() => [localStorage.length, sessionStorage.length, document.cookie]")
    assert kept == [0, 0, ""]
    (complaint,) = browser.logged  # Chromium's own, of the answer 401 above
    assert "401" in complaint


async def test_the_page_follows_what_changes_and_says_when_it_can_not(
    front: Gateway, browser: Browser
) -> None:
    await put(front, "minilm", 1, status={"conditions": condition("True", "Ready")})
    tab = await browser.open(f"{front.common}/ui/")
    await tab.evaluate("getSelection().selectAllChildren(document.querySelector('.model h3'))")
    await put(
        front, "bge", 0, status={"conditions": condition("False", "Unschedulable", "no node")}
    )
    await tab.evaluate("look()")
    assert await texts_of(tab, ".model h3") == ["bge", "minilm"]
    assert await tab.evaluate("getSelection().toString()") == "minilm"
    await tab.fill("#find", "MINI")
    assert await texts_of(tab, ".model h3") == ["minilm"]
    await front.ports.end(0.1)
    await tab.evaluate("look()")
    assert "No answer from the gateway" in await tab.inner_text("#seen.old")
    assert await texts_of(tab, ".model h3") == ["minilm"]
