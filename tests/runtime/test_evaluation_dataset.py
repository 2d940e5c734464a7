"""A folder in BEIR's format: what is read of it, and where it says that it is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kubeembed_runtime.evaluation.dataset import Dataset, read_dataset
from kubeembed_runtime.evaluation.errors import BadFolder

CORPUS = """\
{"_id": "d1", "title": "Wings", "text": "They flutter.", "metadata": {"year": 1958}}
{"_id": "d2", "title": "", "text": "Soup."}
{"_id": "d3", "title": null, "text": ""}
"""
QUERIES = """\
{"_id": "q1", "text": "what is flutter?", "metadata": {}}
{"_id": "q2", "text": "never judged"}
"""
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td3\t0\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """(file=content, ...) -> the folder, with those files in the place of the good ones."""

    def written(corpus: str = CORPUS, queries: str = QUERIES, qrels: str = QRELS) -> Path:
        (tmp_path / "qrels").mkdir()
        (tmp_path / "corpus.jsonl").write_text(corpus)
        (tmp_path / "queries.jsonl").write_text(queries)
        (tmp_path / "qrels" / "test.tsv").write_text(qrels)
        return tmp_path

    return written


def test_titles_stand_before_texts_and_only_judged_queries_are_kept(write: Write) -> None:
    assert read_dataset(write()) == Dataset(
        documents={"d1": "Wings They flutter.", "d2": "Soup.", "d3": " "},
        queries={"q1": "what is flutter?"},
        qrels={"q1": {"d1": 2, "d3": 0}},
    )


def test_files_of_windows_and_line_separators_within_texts_are_read(write: Write) -> None:
    folder = write(corpus='{"_id": "d1", "text": "a\u2028b"}\r\n', qrels="")
    (folder / "qrels" / "dev.tsv").write_bytes(b"query-id\tcorpus-id\tscore\r\nq1\td1\t1\r\n")
    dataset = read_dataset(folder, "dev")
    assert dataset.documents == {"d1": "a\u2028b"}
    assert dataset.qrels == {"q1": {"d1": 1}}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"corpus": CORPUS + '{"_id": "d4"}\n'},
            "corpus.jsonl, line 4: Object missing required field `text`",
        ),
        (
            {"corpus": '{"_id": 4, "text": "a"}\n'},
            "corpus.jsonl, line 1: Expected `str`, got `int` - at `$._id`",
        ),
        ({"corpus": CORPUS + "{'_id'}\n"}, "corpus.jsonl, line 4: JSON is malformed"),
        ({"corpus": CORPUS + "\n"}, "corpus.jsonl, line 4: Input data was truncated"),
        ({"corpus": CORPUS + CORPUS}, "corpus.jsonl, line 4: _id 'd1' is that of line 1"),
        ({"corpus": ""}, "corpus.jsonl: is empty"),
        ({"queries": '{"_id": "q1", "text": " "}\n'}, "queries.jsonl, line 1: text of 'q1' is emp"),
        ({"qrels": "q1\td1\t1\n"}, r"test.tsv, line 1: is 'q1\td1\t1'; it must be the header"),
        (
            {"qrels": ""},
            "test.tsv, line 1: is ''; it must be the header query-id, corpus-id, score",
        ),
        ({"qrels": QRELS + "q1\td2\n"}, "test.tsv, line 4: has 2 fields; three with tabs"),
        ({"qrels": QRELS + "q1\td2\t1.5\n"}, "test.tsv, line 4: score '1.5' is not a whole number"),
        ({"qrels": QRELS + "q9\td2\t1\n"}, "test.tsv, line 4: query-id 'q9' is not in queries"),
        ({"qrels": QRELS + "q1\td9\t1\n"}, "test.tsv, line 4: corpus-id 'd9' is not in corpus"),
        ({"qrels": QRELS + "q1\td1\t1\n"}, "test.tsv, line 4: 'd1' was judged for 'q1' before"),
        ({"qrels": "query-id\tcorpus-id\tscore\n"}, "test.tsv: has no judgement under its header"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_field(
    write: Write, files: dict[str, str], said: str
) -> None:
    with pytest.raises(BadFolder) as refused:
        read_dataset(write(**files))
    assert said in str(refused.value)


def test_a_missing_file_and_one_of_another_encoding_are_named(write: Write) -> None:
    folder = write()
    with pytest.raises(BadFolder, match=r"qrels/dev\.tsv: No such file"):
        read_dataset(folder, "dev")
    (folder / "queries.jsonl").write_bytes('{"_id": "q1", "text": "é"}'.encode("latin-1"))
    with pytest.raises(BadFolder, match=r"queries\.jsonl: is not UTF-8"):
        read_dataset(folder)
