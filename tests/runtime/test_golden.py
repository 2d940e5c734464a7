"""A model is ready only if its vectors are the golden ones; otherwise its last word says which are not."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import runtimekit
from adapterkit import write_adapter
from fakekit import FakeModel
from kubeembed_api.golden import GoldenText, cosine, packed
from kubeembed_api.reasons import Reason
from kubeembed_api.report import parse_report
from kubeembed_runtime import golden as room
from kubeembed_runtime.adapters import ToldGolden
from kubeembed_runtime.errors import (
    DeviceFailed,
    InvalidInput,
    Loading,
    NotFinite,
    OutOfMemory,
    QueueFull,
    StartFailed,
)
from kubeembed_runtime.golden import AT_ONCE, CHARACTERS_AT_ONCE, _found, check, prover
from kubeembed_runtime.goldenfiles import Golden, read
from kubeembed_runtime.requests import Encoded, EncodeRequest, Output, Prompting

SAME, NEAR, OTHER = (2.0, 2.0, 2.0), (1.0, 1.0, 1.05), (1.0, 1.0, 0.0)


def golden(*texts: GoldenText, min_cosine: float = 0.999) -> Golden:
    return Golden(path=Path("golden.jsonl"), texts=texts, min_cosine=min_cosine)


def text(said: str, vector: tuple[float, ...], side: Any = None) -> GoldenText:
    return GoldenText(text=said, side=side, vector=vector)


async def test_vectors_that_are_near_enough_let_it_begin(
    fake_model: FakeModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    texts = [text(str(n), SAME) for n in range(AT_ONCE)]
    await check(fake_model, golden(*texts, text("b", NEAR, "query"), text("c", SAME, "document")))
    assert "66 golden vectors agree; the worst cosine is 0.999731" in caplog.text
    assert [one.inputs for one in fake_model.asked[-2:]] == [["b"], ["c"]]
    assert fake_model.asked[-2] == EncodeRequest(
        inputs=["b"], outputs=("dense",), prompting=Prompting(side="query")
    )
    assert len(fake_model.asked) == AT_ONCE + 2


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (
            [text("a", SAME), text("near", NEAR), text("far", OTHER, "query")],
            "2 of 3 golden texts are below minCosine 0.9999; the worst: line 3 (query), 'far', has"
            " cosine 0.816496. This pod (fingerprint f00d) takes no requests",
        ),
        (
            [text("word " * 40, OTHER)],
            "1 of 1 golden texts are below minCosine 0.9999; the worst: line 1, '"
            + "word " * 12
            + "…', has cosine 0.816496.",
        ),
        ([text("a", (1.0,))], "line 1, 'a', has 3 dimensions, its golden vector 1."),
        ([text("a", OTHER), text("b", (1.0,))], "2 of 2 golden texts"),
    ],
    ids=["the worst is shown", "a long text is cut", "other dimensions", "two faults"],
)
async def test_vectors_that_are_too_far_are_a_reason_not_to_begin(
    fake_model: FakeModel, texts: list[GoldenText], said: str
) -> None:
    with pytest.raises(StartFailed) as failed:
        await check(fake_model, golden(*texts, min_cosine=0.9999))
    assert failed.value.reason is Reason.GOLDEN_MISMATCH
    assert said in failed.value.message


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (InvalidInput("inputs", "a text is too long"), Reason.GOLDEN_MISMATCH),
        (NotFinite("dense", 0, 1), Reason.GOLDEN_MISMATCH),
        (DeviceFailed("the device is gone"), Reason.DEVICE_FAILED),
        (OutOfMemory("no memory"), Reason.OUT_OF_MEMORY),
    ],
    ids=["refused", "no number", "device", "memory"],
)
async def test_a_text_that_gets_no_vector_is_a_reason_not_to_begin(
    fake_model: FakeModel, failure: Exception, reason: Reason
) -> None:
    fake_model.failure = failure
    with pytest.raises(StartFailed) as failed:
        await check(fake_model, golden(text("a", SAME)))
    assert failed.value.reason is reason
    assert str(failure) in failed.value.message


class Model:
    """Gives one vector whatever it is asked; counts the characters that are on their way at a time."""

    def __init__(self, *vector: float) -> None:
        self.vector = np.array(vector, np.float32)
        self.characters = self.most = self.asked = 0

    async def encode(self, request: EncodeRequest) -> Encoded:
        size = sum(map(len, request.inputs))
        self.asked, self.characters = self.asked + 1, self.characters + size
        self.most = max(self.most, self.characters)
        await asyncio.sleep(0)
        self.characters -= size
        return Encoded(outputs=[Output(dense=self.vector)], tokens=1)


async def test_equal_vectors_are_near_enough_for_a_least_cosine_of_one(
    fake_model: FakeModel,
) -> None:
    """Rounding makes the cosine of some vectors with themselves a little less."""
    rows = np.random.default_rng(0).standard_normal((100, 384), dtype=np.float32).tolist()
    vector = next(tuple(row) for row in rows if cosine(tuple(row), tuple(row)) < 1)
    model: Any = SimpleNamespace(encode=Model(*vector).encode, info=fake_model.info)
    await check(model, golden(text("a", vector), min_cosine=1.0))
    other = (*vector[:-1], vector[-1] + 0.01)
    with pytest.raises(StartFailed, match=r"below minCosine 1\.0; .* has cosine 0\.999999"):
        await check(model, golden(text("a", other), min_cosine=1.0))


async def test_a_cosine_below_the_least_is_never_shown_as_if_it_were_not(
    fake_model: FakeModel,
) -> None:
    near = (1.0, 1.0, 1.121014577933109)
    assert 0.9984999 < cosine(SAME, near) < 0.9985  # to six digits it would be that
    with pytest.raises(StartFailed, match=r"below minCosine 0\.9985; .* has cosine 0\.998499"):
        await check(fake_model, golden(text("a", near), min_cosine=0.9985))


async def test_long_texts_are_not_asked_for_all_at_once() -> None:
    """Too many of them would fill the queue, and a slow device not empty it in any number of tries."""
    model = Model(1.0)
    sizes = [*[CHARACTERS_AT_ONCE // 4] * 9, 3 * CHARACTERS_AT_ONCE, 1, 1]
    texts = [text("x" * size, (1.0,)) for size in sizes]
    found = [one async for one in _found(model.encode, texts)]
    assert [(one.place, one.text) for one in found] == [*enumerate(texts, 1)]
    assert (model.asked, model.most) == (len(texts), 3 * CHARACTERS_AT_ONCE)
    model = Model(1.0)
    [one async for one in _found(model.encode, texts[:9])]
    assert model.most == CHARACTERS_AT_ONCE


def proved(encode: Any, loop: asyncio.AbstractEventLoop) -> Any:
    """What holds an adapter to golden vectors, on a model that answers so."""
    model: Any = SimpleNamespace(info=SimpleNamespace(name="minilm"), encode_with=encode)
    prove = prover(None, loop)(model)
    adapter: Any = SimpleNamespace(name="legal", fingerprint="beef")
    told = ToldGolden(lines=lines(("a", [2.0, 2.0, 2.0])), min_cosine=0.9)
    return lambda: prove(adapter, told)


async def test_a_pod_that_is_too_full_to_say_calls_no_adapter_a_wrong_one() -> None:
    async def full(request: EncodeRequest, adapter: Any) -> Encoded:
        raise QueueFull(9, 9, 0.0)

    with pytest.raises(Loading, match="model 'minilm:legal' is still loading"):
        await asyncio.to_thread(proved(full, asyncio.get_running_loop()))


def test_a_loop_that_ends_before_it_says_keeps_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LOOK_SECONDS", 0.01)
    loop, ended = asyncio.new_event_loop(), threading.Event()
    prove = proved(None, loop)

    def wait() -> None:
        with pytest.raises(DeviceFailed, match="the runtime has stopped"):
            prove()
        ended.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    while not loop._ready:  # type: ignore[attr-defined]  # it was told, and never runs it
        assert thread.is_alive()
    for handle in loop._ready:  # type: ignore[attr-defined]
        handle.cancel()
    loop.close()
    assert ended.wait(10)


async def test_a_model_without_dense_vectors_has_no_golden_ones(fake_model: FakeModel) -> None:
    fake_model.info = fake_model.info.model_copy(update={"outputs": ("sparse", "score")})
    with pytest.raises(StartFailed, match="are dense, and the model gives sparse, score"):
        await check(fake_model, golden(text("a", SAME)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "golden.jsonl is not there: the ConfigMap, or its key golden.jsonl, does not exist"),
        (b" \n", "golden.jsonl holds no texts"),
        (b"\xff", "golden.jsonl: 'utf-8' codec"),
        (b'{"text": "a", "vector": "AAAA"}', "golden.jsonl, line 1: vector: 3 bytes"),
    ],
    ids=["absent", "empty", "no text", "no vector"],
)
def test_a_file_that_cannot_be_read_says_where_and_what_writes_it(
    tmp_path: Path, data: bytes | None, said: str
) -> None:
    file = tmp_path / "golden.jsonl"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(StartFailed) as failed:
        read(file, 0.999)
    assert failed.value.reason is Reason.GOLDEN_UNREADABLE
    assert said in failed.value.message
    assert failed.value.message.endswith("; `kubeembed golden` writes them")


def lines(*pairs: tuple[str, list[float]]) -> str:
    told = ({"text": said, "vector": packed(tuple(vector))} for said, vector in pairs)
    return "".join(f"{json.dumps(each)}\n" for each in told)


@pytest.mark.timeout(180)
def test_a_process_serves_the_golden_vectors_or_ends_with_its_reason(
    start: Callable[..., Any], minilm: Path, tmp_path: Path
) -> None:
    """On a laptop: the document names a ConfigMap, and --golden a file."""
    document = runtimekit.document(minilm)
    document["spec"]["rollout"] = {"golden": {"configMap": "minilm-golden", "minCosine": 0.9999}}
    first = start(document).until_ready()
    texts = ["the quick brown fox", "a cat on a mat"]
    answer = first.embed({"model": "minilm", "input": texts})["data"]
    vectors = [one["embedding"] for one in answer]
    assert "vectors are not compared: ConfigMap minilm-golden is in a cluster" in (
        first.log.read_text()
    )
    first.terminate()
    file, log = tmp_path / "golden.jsonl", tmp_path / "termination-log"
    file.write_text(lines(*zip(texts, vectors, strict=True)))
    flags = ("--golden", str(file), "--termination-log", str(log))
    same = start(document, *flags).until_ready()
    assert "2 golden vectors agree" in same.log.read_text()
    same.terminate()
    log.touch()
    document["spec"]["recipe"]["pooling"] = "cls"
    other = start(document, *flags)
    assert other.popen.wait(120) == 1
    report = parse_report(log.read_text())
    assert report is not None
    assert report.reason is Reason.GOLDEN_MISMATCH
    assert report.message.startswith("2 of 2 golden texts are below minCosine 0.9999")
    assert other.admin("/readyz") == (0, "")


@pytest.mark.timeout(240)
def test_an_adapter_gets_its_name_with_its_golden_vectors_alone(
    start: Callable[..., Any], minilm: Path, tmp_path: Path
) -> None:
    """At the start, and when it is replaced while it serves."""
    folders = {n: write_adapter(tmp_path / n, seed) for seed, n in enumerate(("one", "two"))}
    document = runtimekit.document(minilm)
    document["spec"]["adapters"] = [{"name": "legal", "source": f"file://{folders['one']}"}]
    file, text = tmp_path / "golden.jsonl", "the quick brown fox"
    first = start(document).until_ready()
    vectors = {
        name: first.embed({"model": name, "input": text})["data"][0]["embedding"]
        for name in ("minilm", "minilm:legal")
    }
    first.terminate()
    file.write_text(lines((text, vectors["minilm"])))
    file.with_name("golden.legal.jsonl").write_text(lines((text, vectors["minilm:legal"])))
    held = start(document, "--golden", str(file)).until_ready()
    status, told = held.admin("/adapters/legal", "PUT", {"path": str(folders["two"])})
    refused = json.loads(told)
    assert (status, refused.get("reason")) == (422, "GoldenMismatch"), refused
    assert (
        "1 of 1 golden texts are below minCosine 0.999; the worst: line 1, 'the quick"
        in (refused["error"])
    )
    again = held.embed({"model": "minilm:legal", "input": text})["data"][0]["embedding"]
    assert again == pytest.approx(vectors["minilm:legal"], abs=1e-5)
    status, told = held.admin("/adapters/other", "PUT", {"path": str(folders["two"])})
    assert (status, json.loads(told)["loaded"]) == (200, True)  # there are none of that name
    # what comes with an adapter counts, and not the files
    golden = {"lines": lines((text, vectors["minilm:legal"])), "minCosine": 0.999}
    body = {"path": str(folders["two"]), "golden": golden}
    assert held.admin("/adapters/new", "PUT", body)[0] == 422
    body["golden"] = golden | {"lines": ""}
    assert held.admin("/adapters/legal", "PUT", body)[0] == 200
    held.terminate()
    through = tmp_path / "rolled-out"
    document["spec"]["adapters"][0]["source"] = f"file://{folders['two']}"
    flags = ("--golden", str(file), "--rolled-out", str(through))
    log = tmp_path / "termination-log"
    log.touch()
    stopped = start(document, *flags, "--termination-log", str(log))
    assert stopped.popen.wait(120) == 1
    report = parse_report(log.read_text())
    assert report is not None
    assert report.reason is Reason.GOLDEN_MISMATCH
    assert report.message.startswith("adapter 'legal' cannot be served: 1 of 1 golden texts")
    assert report.message.endswith("This pod takes no requests, so its roll-out stops")
    through.touch()
    later = start(document, *flags).until_ready()
    [listed] = json.loads(later.admin("/adapters")[1])["adapters"]
    assert (listed["reason"], listed["loaded"]) == ("GoldenMismatch", False)
    later.terminate()
    file.with_name("golden.legal.jsonl").write_text("no json\n")
    unread = start(document, "--golden", str(file)).until_ready()
    [listed] = json.loads(unread.admin("/adapters")[1])["adapters"]
    assert (listed["reason"], listed["loaded"]) == ("GoldenUnreadable", False)
    assert unread.embed({"model": "minilm", "input": text})["data"]
    unread.terminate()


async def test_a_full_pod_is_asked_again(fake_model: FakeModel) -> None:
    full = [QueueFull(9, 9, 0.0)] * 3

    async def encode(request: EncodeRequest) -> Encoded:
        if full:
            raise full.pop()
        return await fake_model.encode(request)

    [found] = [one async for one in _found(encode, [text("a", SAME)])]
    assert (found.problem, round(found.cosine, 6), full) == ("", 1.0, [])
