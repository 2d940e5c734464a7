"""A file of texts -> what is asked for, and what cannot be asked for."""

import argparse
import base64
import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeembed_api import golden as golden_vectors
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.golden import Golden, GoldenAdapter, GoldenText, Side, Vector
from kubeembed_cli import goldens
from kubeembed_cli.errors import CommandFailed
from kubeembed_cli.goldens import Asked, ask, read_texts, with_adapters
from kubeembed_cli.server import BATCH, BATCH_CHARACTERS, Served, Server


def test_a_text_is_a_line(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text('one\n\n  two, {"text": 3}\n')
    assert read_texts(file, "query") == (
        Asked(text="one", side="query"),
        Asked(text='  two, {"text": 3}', side="query"),
    )


def test_lines_of_json_name_their_side(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "a\\nb"}\n{"text": "a\\nb", "side": "query"}\n')
    assert read_texts(file, None) == (Asked(text="a\nb"), Asked(text="a\nb", side="query"))
    with pytest.raises(CommandFailed, match="twice"):  # --side makes them one
        read_texts(file, "query")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.txt", "\n \n", "has no texts; write one per line"),
        ("a.txt", "one\ntwo\none\n", "has 'one' twice; leave one out"),
        ("a.jsonl", '{"text": "a"}\n{"text": ""}\n', "line 2: text: String should have at least 1"),
        ("a.jsonl", "a\n", "line 1: JSON: Invalid JSON"),
        ("a.jsonl", '{"text": "a", "lang": "de"}\n', "line 1: lang: Extra inputs"),
    ],
    ids=["empty", "twice", "empty text", "no json", "unknown field"],
)
def test_a_file_that_cannot_be_is_refused(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(CommandFailed) as refused:
        read_texts(file, None)
    assert problem in str(refused.value)
    assert refused.value.status == 2


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_only_the_end_of_a_line_ends_a_text(tmp_path: Path, name: str) -> None:
    texts = ["one\u2028two", "three\x85four", "five\x0csix" if name == "a.txt" else "five six"]
    file = tmp_path / name
    told = [json.dumps({"text": one}, ensure_ascii=False) for one in texts]
    file.write_text("\n".join(texts if name == "a.txt" else told))
    assert [one.text for one in read_texts(file, None)] == texts


def test_many_texts_are_not_held_against_each_other_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, compared = tmp_path / "a.txt", list[object]()
    file.write_text("\n".join(map(str, range(500))))

    def equal(one: Asked, other: object) -> bool:
        compared.append(other)
        return isinstance(other, Asked) and one.text == other.text

    monkeypatch.setattr(Asked, "__eq__", equal)
    assert len(read_texts(file, None)) == 500
    assert len(compared) < 500


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"--texts .*none\.txt"):
        read_texts(tmp_path / "none.txt", None)


def test_adapters_are_asked_of_the_same_texts_and_kept_by_name() -> None:
    def asked(fingerprint: str) -> Golden:
        texts = (GoldenText(text="a", side=None, vector=(1.0, 0.0)),)
        return Golden(model="m", dimensions=2, fingerprint=fingerprint, texts=texts)

    both = with_adapters(asked("f"), {"legal": asked("g")})
    legal = GoldenAdapter(fingerprint="g", texts=asked("g").texts)
    assert both == replace(asked("f"), adapters={"legal": legal})


class Resting(Server):
    """Of an adapter that is in no pod's memory before somebody asks."""

    def __init__(self) -> None:
        self.name, self.asked = "m:legal", 0

    def about(self) -> Served:
        mark = "f" if self.asked else ""
        return Served(name=self.name, outputs=("dense",), prompts=(), fingerprint=mark)

    def embed(self, texts: Sequence[str], side: Side | None) -> list[Vector]:
        self.asked += 1
        return [(1.0, 0.0) for _ in texts]


def test_one_that_rests_is_woken_so_that_its_fingerprint_is_known() -> None:
    found = ask(Resting(), [Asked(text="a"), Asked(text="b", side="query")])
    assert (found.fingerprint, len(found.texts)) == ("f", 2)


class Answer(BytesIO):
    status = 200


class Pod:
    """A connection to one. Its vector of every text is its number; `bodies` is what it was sent."""

    def __init__(self, number: int) -> None:
        self.number, self.bodies = number, list[Any]()

    def __call__(self) -> Any:
        return self

    def request(self, method: str, path: str, data: bytes | None, headers: Any) -> None:
        body = json.loads(data or b"null")
        told: Any = {"id": path.rpartition("/")[2], "outputs": ["dense"], "fingerprint": "f"}
        told["kubeembed"] = {"prompts": []}
        if body is not None:
            self.bodies.append(body)
            one = base64.b64encode(struct.pack("<2f", self.number, 1.0)).decode()
            told = {"embeddings": {"base64": [one] * len(body["texts"])}}
        self.answer = Answer(json.dumps(told).encode())

    def getresponse(self) -> Answer:
        return self.answer

    def close(self) -> None:
        pass


def test_a_request_has_so_many_texts_and_so_many_characters_of_them() -> None:
    pod = Pod(1)
    sizes = [*[1] * (BATCH + 1), *[BATCH_CHARACTERS // 2] * 3, 2 * BATCH_CHARACTERS, 1]
    found = Server("m", pod, None).embed(["x" * size for size in sizes], None)
    sent = [[len(text) for text in body["texts"]] for body in pod.bodies]
    half = BATCH_CHARACTERS // 2
    assert sent == [[1] * BATCH, [1, half], [half, half], [2 * BATCH_CHARACTERS], [1]]
    assert len(found) == len(sizes)


class Cluster:
    """Another pod is the first one each time it is asked."""

    namespace = "search"

    def __init__(self) -> None:
        self.asked = 0
        self.pods = {"one": Pod(1), "two": Pod(2)}

    def list(self, plural: str, **query: str) -> list[Any]:
        if plural != "pods":
            return [{"metadata": {"name": "m"}}]
        self.asked += 1
        names = ["one", "two"] if self.asked % 2 else ["two", "one"]
        conditions = [{"type": "Ready", "status": "True"}]
        return [{"metadata": {"name": n}, "status": {"conditions": conditions}} for n in names]

    def tunnel(self, namespace: str, pod: str, port: int) -> Any:
        return self.pods[pod]


def options(tmp_path: Path, name: str) -> argparse.Namespace:
    file = tmp_path / "texts.txt"
    file.write_text("a")
    told = {"texts": file, "side": None, "context": None, "namespace": None, "api_key_file": None}
    more = {"adapter": ["legal", "tax"], "config_map": None, "apply": False}
    return argparse.Namespace(name=name, **told, **more)


def test_a_model_and_its_adapters_are_asked_of_one_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a roll-out the pods have different bases."""
    cluster = Cluster()
    monkeypatch.setattr(goldens, "connect", lambda context, namespace: cluster)
    assert goldens.golden(options(tmp_path, "m")) == 0
    data = yaml.safe_load(capsys.readouterr().out)["data"]
    vectors = {json.loads(lines)["vector"] for lines in data.values()}
    assert (sorted(data), len(vectors)) == (
        ["golden.jsonl", "golden.legal.jsonl", "golden.tax.jsonl"],
        1,
    )


def test_more_than_there_is_room_for_is_refused_before_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster()
    monkeypatch.setattr(goldens, "connect", lambda context, namespace: cluster)
    monkeypatch.setattr(golden_vectors, "LIMIT_BYTES", 1000)
    asked = options(tmp_path, "m")
    asked.texts.write_text("\n".join(map(str, range(10))))  # 39 bytes each
    said = (
        "ConfigMap m-golden: holds 1000 bytes, which is 25 of the model's and 2 adapters' 30 texts"
    )
    with pytest.raises(InvalidSpec, match=said):
        goldens.golden(asked)
    assert [body["texts"] for body in cluster.pods["one"].bodies] == [["0"]]


def test_an_adapter_alone_has_no_config_map(tmp_path: Path) -> None:
    said = "m:legal is an adapter; write m --adapter legal"
    with pytest.raises(CommandFailed, match=said):
        goldens.golden(options(tmp_path, "m:legal"))
