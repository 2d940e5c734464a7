"""A file of texts -> what is asked for, and what cannot be asked for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kubeembed_api.golden import Golden, GoldenAdapter, GoldenText, Side, Vector
from kubeembed_cli.errors import CommandFailed
from kubeembed_cli.goldens import Asked, ask, read_texts, with_adapters
from kubeembed_cli.server import Served, Server


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
