"""The runtime as a process: start, serve, drain, and what it says when it cannot start."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import yaml

from kubeembed_api.reasons import Reason
from kubeembed_api.report import RuntimeInfo, parse_report

pytestmark = pytest.mark.timeout(180)

Document = Callable[..., dict[str, Any]]
PATIENCE_SECONDS = 120
ROOT = Path(__file__).parents[2]


async def until(process: Any, path: str, status: int) -> None:
    """Asks the admin port until it answers so, which is what kubelet does."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await asyncio.to_thread(process.admin, path))[0] != status:
            assert process.popen.poll() is None, process.log.read_text()
            await asyncio.sleep(0.02)


async def test_a_document_is_served_to_the_openai_client_and_drained_at_the_end(
    start: Callable[..., Any], document: Document, minilm: Path
) -> None:
    exact = document(minilm, dtype="float32")
    process = start(exact, "--linger", "1", PYTHONPROFILEIMPORTTIME="1")
    await until(process, "/livez", 200)
    assert process.admin("/readyz") == (503, "Loading\n")
    assert process.admin("/info") == (503, "Loading\n")
    await until(process, "/readyz", 200)
    info = RuntimeInfo.model_validate_json(process.admin("/info")[1])
    assert info == RuntimeInfo(
        name="minilm",
        dimensions=384,
        max_tokens=256,
        output_dimensions={"dense": 384},
        pooling="mean",
        normalize=True,
        dtype="float32",
        device="cpu",
        fingerprint=info.fingerprint,
        max_concurrent_requests=1024,
        max_batch_tokens=512,
        tokenizer_threads=info.tokenizer_threads,
        startup=info.startup,
    )
    assert info.tokenizer_threads
    assert info.startup is not None
    await tour(f"http://127.0.0.1:{process.port}/v1", info.fingerprint)
    metrics = process.admin("/metrics")[1]
    assert 'kubeembed_batches_total{outcome="ok"} 7.0' in metrics
    assert 'kubeembed_tokenize_seconds_count{adapter=""} 7.0' in metrics
    await drained_under_load(process)
    lines = process.log.read_text().splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "torch" in imported
    # What a serving process does without, since users wait for every import at a cold start.
    assert imported.isdisjoint(
        {"transformers", "sentence_transformers", "huggingface_hub", "scipy"}
    )


async def tour(url: str, fingerprint: str) -> None:
    """The unmodified client, with seven good requests."""
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        embed = client.embeddings.create
        one = await embed(model="minilm", input="hello world")
        many = await embed(model="minilm", input=["hello world", "good bye"])
        floats = await embed(model="minilm", input="hello world", encoding_format="float")
        ids = await embed(model="minilm", input=[7592, 2088])
        lists = await embed(model="minilm", input=[[7592, 2088], [101, 7592, 2088, 102]])
        short = await embed(model="minilm", input="hello world", dimensions=8)
        raw = await client.embeddings.with_raw_response.create(model="minilm", input="hello world")
        vector = np.array(one.data[0].embedding)
        assert (one.usage.prompt_tokens, many.usage.total_tokens) == (4, 8)
        assert [found.index for found in many.data] == [0, 1]
        for reply in (many, floats, ids, lists):
            np.testing.assert_allclose(reply.data[0].embedding, vector, atol=1e-6)
        np.testing.assert_allclose(lists.data[1].embedding, vector, atol=1e-6)
        cut = vector[:8] / np.linalg.norm(vector[:8])
        np.testing.assert_allclose(short.data[0].embedding, cut, atol=1e-6)
        assert raw.headers["x-kubeembed-fingerprint"] == fingerprint
        with pytest.raises(openai.NotFoundError, match="'minilm:legal' is not served here"):
            await embed(model="minilm:legal", input="a")
        with pytest.raises(openai.BadRequestError, match="between 1 and 384") as refused:
            await embed(model="minilm", input="a", dimensions=385)
        assert refused.value.param == "dimensions"
        with pytest.raises(openai.BadRequestError, match="ids are between 0 and 30521"):
            await embed(model="minilm", input=[30522])


async def drained_under_load(process: Any) -> None:
    """SIGTERM while eight clients ask: whatever was sent before the port closed is answered whole."""
    url = f"http://127.0.0.1:{process.port}/v1/embeddings"
    body = {"model": "minilm", "input": ["a passage of some length " * 5] * 4}
    answered: list[int] = []
    cut: list[Exception] = []
    busy = asyncio.Event()

    async def ask(client: httpx.AsyncClient) -> None:
        while True:
            try:
                reply = await client.post(url, json=body)
            except httpx.ConnectError:
                return
            except httpx.HTTPError as error:
                cut.append(error)
                return
            assert len(reply.json()["data"]) == 4
            answered.append(reply.status_code)
            if len(answered) > 16:
                busy.set()

    async with httpx.AsyncClient(timeout=60) as client, asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(ask(client))
        await busy.wait()
        before = len(answered)
        process.popen.terminate()
        await until(process, "/readyz", 503)
        assert process.admin("/livez")[0] == 200
        assert await asyncio.to_thread(process.popen.wait, 60) == 0
    assert cut == []
    assert len(answered) > before
    assert set(answered) == {200}


@pytest.fixture
def hub() -> Iterator[str]:
    """URL of a hub that has the real MiniLM."""
    command = [sys.executable, str(ROOT / "tests" / "hub"), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = (line.partition("HF_ENDPOINT=")[2].strip() for line in process.stderr)
        yield next(url for url in lines if url)
        process.terminate()
        process.stderr.read()


async def test_the_example_is_fetched_once_and_answers_the_same_vectors(
    start: Callable[..., Any], hub: str, tmp_path: Path
) -> None:
    document = yaml.safe_load((ROOT / "examples" / "minilm.yaml").read_text())
    document["spec"]["recipe"] = {"dtype": "float32"}  # on a CPU with bfloat16, too
    seen = []
    for _ in range(2):
        process = start(document, "--cache", str(tmp_path), HF_ENDPOINT=hub)
        await until(process, "/readyz", 200)
        told = RuntimeInfo.model_validate_json(process.admin("/info")[1])
        info = told.model_copy(update={"startup": None})  # how long it took
        vector = process.embed({"model": "minilm", "input": "hello world"})["data"][0]["embedding"]
        seen.append((info, vector, process.log.read_text().count("fetched model.safetensors")))
        process.popen.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.popen.wait, 30) == 0
    (info, vector, fetched), (info_again, vector_again, fetched_again) = seen
    assert (info_again, vector_again) == (info, vector)
    assert (fetched, fetched_again) == (1, 0)
    assert info.revision is not None
    assert vector[:4] == pytest.approx([-0.034477, 0.031023, 0.006735, 0.026109], abs=1e-6)


async def test_a_signal_while_loading_ends_the_process_at_once(
    start: Callable[..., Any], document: Document, minilm: Path
) -> None:
    process = start(document(minilm))
    await until(process, "/livez", 200)
    process.popen.terminate()
    assert await asyncio.to_thread(process.popen.wait, 30) == 0


class Outcome:
    """What a start that failed left behind."""

    def __init__(self, status: int, stderr: str, log: str) -> None:
        self.status, self.stderr = status, stderr
        self.report = parse_report(log)


@pytest.fixture
def outcome(tmp_path: Path) -> Callable[..., Outcome]:
    """(text of a document, *flags) -> what a process made of it."""

    def run(text: str, *flags: str) -> Outcome:
        file, log = tmp_path / "model.yaml", tmp_path / "termination-log"
        file.write_text(text)
        log.touch()
        command = [sys.executable, "-m", "kubeembed_runtime", "serve", str(file)]
        common = ["--termination-log", str(log), "--port", "0", "--admin-port", "0"]
        ended = subprocess.run([*command, *common, *flags], capture_output=True, timeout=60)
        return Outcome(ended.returncode, ended.stderr.decode(), log.read_text())

    return run


def failed(outcome: Outcome, reason: Reason, said: str) -> None:
    assert outcome.status == 1
    assert outcome.report is not None
    assert outcome.report.reason is reason
    assert said in outcome.report.message
    assert f"kubeembed-runtime: {reason}: {outcome.report.message}" in outcome.stderr


def test_weights_that_are_not_there_are_reported(
    outcome: Callable[..., Outcome], document: Document, tmp_path: Path
) -> None:
    key = "0" * 32
    status = {"weights": {"key": key}}
    text = json.dumps({**document(tmp_path), "status": status})
    failed(outcome(text, "--cache", str(tmp_path)), Reason.WEIGHTS_MISSING, key)


def test_a_folder_that_holds_no_model_is_reported(
    outcome: Callable[..., Outcome], document: Document, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    text = json.dumps(document(tmp_path / "empty"))
    failed(outcome(text), Reason.NO_USABLE_FILES, "config.json")


def test_a_recipe_that_cannot_be_is_reported(
    outcome: Callable[..., Outcome], document: Document, minilm: Path
) -> None:
    text = json.dumps(document(minilm, maxTokens=513))
    failed(outcome(text), Reason.INVALID_RECIPE, "spec.recipe.maxTokens is 513; at most 512")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no EmbeddingModel document"),
        ("a: [", "is not YAML"),
        ("kind: Pod", "write kubeembed.dev/v1alpha1"),
    ],
    ids=["empty", "no yaml", "other kind"],
)
def test_a_document_that_is_none_is_reported(
    outcome: Callable[..., Outcome], text: str, said: str
) -> None:
    failed(outcome(text), Reason.INVALID_SPEC, said)


def test_keys_that_are_asked_for_and_not_given_are_reported(
    outcome: Callable[..., Outcome], document: Document, minilm: Path
) -> None:
    asked = document(minilm)
    asked["spec"]["serving"] = {"apiKeysSecret": "our-keys"}
    failed(outcome(json.dumps(asked)), Reason.INVALID_SPEC, "give the keys with --api-keys FILE")


async def test_a_process_with_keys_asks_for_them_from_its_first_moment(
    start: Callable[..., Any], document: Document, minilm: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text("ours\n")
    served = document(minilm)
    served["spec"]["serving"] = {"corsOrigins": ["https://app.example"]}
    process = start(served, "--api-keys", str(file))
    await until(process, "/livez", 200)
    body = {"model": "minilm", "input": "a"}
    async with httpx.AsyncClient(base_url=process.url) as client:
        refused = await client.post("/v1/embeddings", json=body)
        headers = {"authorization": "Bearer ours", "origin": "https://app.example"}
        loading = await client.post("/v1/embeddings", json=body, headers=headers)
    assert refused.status_code == 401
    assert loading.status_code == 503
    assert loading.headers["access-control-allow-origin"] == "https://app.example"


def test_a_port_that_is_taken_is_reported(
    outcome: Callable[..., Outcome], document: Document, minilm: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        text = json.dumps(document(minilm))
        said = f"cannot listen on 127.0.0.1:{port}: Address already in use"
        failed(outcome(text, "--port", port), Reason.CRASH_LOOP, said)
