"""Each of examples/ does its work over the example corpus, with the real MiniLM and a real reranker."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from clientkit import printed
from kubeembed_runtime.__main__ import main
from runtimekit import Process, document, late_interaction, launch

EXAMPLES = Path(__file__).parents[2] / "examples"
OFFLINE = {"HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("reranker")
    served = document(late_interaction(folder / "late"), "late", dtype="float32")
    process = launch(folder, served)
    yield process.until_ready()
    process.end()


def example(name: str, *arguments: str) -> list[str]:
    """The lines that it prints."""
    return printed("examples", EXAMPLES / f"{name}.py", *arguments).splitlines()


def test_search_finds_by_meaning_and_within_a_topic(serving: Process) -> None:
    lines = example("search", serving.url)
    assert lines[0] == "128 documents of 384 dimensions from minilm"
    titles = [re.sub(r"^ +0\.\d{3}  ", "", line) for line in lines[1:] if line]
    assert titles == [
        "two tiny slits in the inner tube",
        "Pinch flats",
        "Finding a puncture",
        "Snake bite punctures",
        "what should I do before winter?",
        "Storing a bicycle over winter",
        "Winter storage",
        "Cyclo-cross",
        "what should I do before winter? (topic: electric)",
        "Range of an e-bike",
        "Charging",
        "How far an electric bike goes",
    ]


def test_rag_puts_what_the_reranker_prefers_into_the_prompt(
    serving: Process, reranker: Process
) -> None:
    lines = example("rag", serving.url, reranker.url)
    stages = [place for place, line in enumerate(lines) if "of 128 passages" in line]
    assert [lines[place] for place in stages] == ["20 of 128 passages by minilm, 3 by late:"] * 2
    found = [re.sub(r"^ +\d\.\d{3}  ", "", lines[place + 1]) for place in stages]
    assert found == ["Eating on a ride (number 5 before)", "Saddle sores (number 2 before)"]
    sources = [line[:4] for line in lines if line.startswith("[")]
    assert sources == ["[1] ", "[2] ", "[3] "] * 2
    assert lines[-1] == "Question: It hurts to sit after a long tour"


def test_deduplication_finds_texts_that_say_the_same(serving: Process) -> None:
    lines = example("deduplicate", serving.url)
    same, different = lines.index("the same:"), lines.index("different:")
    assert [line[9:] for line in lines[same + 1 : different]] == [
        "Saddle height = How high to set the saddle",
        "Packing panniers = How to load panniers",
        "When a chain is worn = Checking a chain for wear",
        "Bleeding hydraulic lines = Air in the brake hose",
        "Winter storage = Storing a bicycle over winter",
    ]
    assert lines[different + 1].endswith("Range of an e-bike = How far an electric bike goes")
    assert lines[-1] == "123 of 128 texts are left"
    assert example("deduplicate", serving.url, "0.85")[-1] == "125 of 128 texts are left"


def test_classification_by_the_nearest_label_is_mostly_right(serving: Process) -> None:
    lines = example("classify", serving.url)
    assert lines[0] == "brakes    12 of 13"
    assert "92 of 128 have the right label" in lines


def test_mteb_measures_what_evaluate_does(
    serving: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = {"HF_HOME": str(tmp_path), "MTEB_CACHE": str(tmp_path)}
    said = printed(
        "mteb", EXAMPLES / "mteb_task.py", serving.url, seconds=250, **OFFLINE, **home
    ).splitlines()
    assert said[0] == "minilm on Bicycles"
    theirs = [float(line.split()[1]) for line in said[1:]]
    command = ["evaluate", str(EXAMPLES / "corpus"), "--endpoint", serving.url]
    assert main([*command, "--model", "minilm"]) == 0
    table = capsys.readouterr().out.splitlines()
    ours = next(line for line in table if line.startswith("float "))
    assert theirs == [float(figure) for figure in ours.split()[1:]]


def test_every_example_is_short_and_none_is_left_out() -> None:
    programs = {file.stem: file.read_text() for file in EXAMPLES.glob("*.py")}
    run = {"search", "rag", "deduplicate", "classify", "mteb_task"}
    assert programs.keys() == run | {"bicycles", "similarity"}
    assert [name for name, text in programs.items() if len(text.splitlines()) >= 100] == []
    page = (EXAMPLES / "README.md").read_text()
    assert sorted(re.findall(r"\[(\w+)\.py\]", page)) == sorted(run | {"similarity"})
