"""A folder in BEIR's format -> documents, queries, and which documents answer which query.

corpus.jsonl has an object with _id, title and text per line, queries.jsonl one with _id and text, and
qrels/SPLIT.tsv the lines query-id, corpus-id, score under a header. Other fields (metadata) are left alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kubeembed_runtime.evaluation.errors import BadFolder

#: By query and document: 0 is judged irrelevant, more is better. What is not in it was not judged.
Qrels = Mapping[str, Mapping[str, int]]

HEADER = ["query-id", "corpus-id", "score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Texts by id. documents: title and text in one, as BEIR embeds them. queries: the judged ones alone."""

    documents: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Qrels


class Record(msgspec.Struct):
    """A line of corpus.jsonl or queries.jsonl."""

    id: str = msgspec.field(name="_id")
    text: str
    title: str | None = None


_RECORD = msgspec.json.Decoder(Record)


def read_dataset(folder: Path, split: str = "test") -> Dataset:
    """Raises BadFolder."""
    documents = {
        # A blank where BEIR has no text: contracts refuse empty ones, and its vector is the same.
        record.id: f"{record.title or ''} {record.text}".strip() or " "
        for record in _records(folder / "corpus.jsonl")
    }
    queries = {}
    for line, record in enumerate(_records(folder / "queries.jsonl"), start=1):
        if not record.text.strip():
            raise BadFolder(folder / "queries.jsonl", line, f"text of {record.id!r} is empty")
        queries[record.id] = record.text
    qrels = _qrels(folder / "qrels" / f"{split}.tsv", documents, queries)
    judged = {query: text for query, text in queries.items() if query in qrels}
    return Dataset(documents=documents, queries=judged, qrels=qrels)


def _records(file: Path) -> Iterator[Record]:
    """In the order of the lines, which have one object each."""
    first: dict[str, int] = {}
    for line, text in _lines(file):
        try:
            record = _RECORD.decode(text)
        except msgspec.DecodeError as error:  # a wrong field as well: it says `$.text`
            raise BadFolder(file, line, str(error)) from error
        if record.id in first:
            problem = f"_id {record.id!r} is that of line {first[record.id]}; each needs its own"
            raise BadFolder(file, line, problem)
        first[record.id] = line
        yield record
    if not first:
        raise BadFolder(file, None, "is empty; it needs an object with _id and text per line")


def _qrels(file: Path, documents: Mapping[str, str], queries: Mapping[str, str]) -> Qrels:
    lines = _lines(file)
    _, header = next(lines, (1, ""))
    if header.split("\t") != HEADER:
        wanted = ", ".join(HEADER)
        raise BadFolder(file, 1, f"is {header!r}; it must be the header {wanted}, with tabs")
    qrels: dict[str, dict[str, int]] = {}
    for line, text in lines:
        query, document, score = _judgement(file, line, text)
        if query not in queries:
            raise BadFolder(file, line, f"query-id {query!r} is not in queries.jsonl")
        if document not in documents:
            raise BadFolder(file, line, f"corpus-id {document!r} is not in corpus.jsonl")
        if document in qrels.setdefault(query, {}):
            raise BadFolder(file, line, f"{document!r} was judged for {query!r} before; keep one")
        qrels[query][document] = score
    if not qrels:
        raise BadFolder(file, None, "has no judgement under its header; nothing can be measured")
    return qrels


def _judgement(file: Path, line: int, text: str) -> tuple[str, str, int]:
    fields = text.split("\t")
    if len(fields) != len(HEADER):
        raise BadFolder(file, line, f"has {len(fields)} fields; three with tabs between are needed")
    query, document, score = fields
    try:
        return query, document, int(score)
    except ValueError:
        raise BadFolder(file, line, f"score {score!r} is not a whole number") from None


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Counted from 1, without their ends. Raises BadFolder."""
    try:
        with file.open(encoding="utf-8", newline="\n") as opened:
            for line, text in enumerate(opened, start=1):
                yield line, text.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise BadFolder(file, None, f"is not UTF-8: {error}") from error
    except OSError as error:
        raise BadFolder(file, None, error.strerror or str(error)) from error
