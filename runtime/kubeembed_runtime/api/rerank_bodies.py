"""What the rerank contracts' clients send, and how it becomes texts to rank."""

from collections.abc import Sequence
from typing import Any

import msgspec

from kubeembed_runtime.api.limits import check_count
from kubeembed_runtime.errors import InvalidInput

#: A text, or an object: its `text` is ranked, and all that it has comes back with return_documents.
Document = str | dict[str, Any]


class RerankBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """top_n: None and 0 mean all. priority is accepted, and all requests are alike."""

    query: str
    documents: list[Document]
    model: str | None = None
    top_n: int | None = None
    max_tokens_per_doc: int | None = None
    return_documents: bool = False
    raw_scores: bool = False
    instruction: str | None = None
    priority: int | None = None

    @property
    def fields(self) -> Sequence[str]:
        """Of a document that is an object: those that are ranked, one after another."""
        return ("text",)


class RerankBodyV1(RerankBody, kw_only=True):
    """Cohere's v1 has words for the fields of objects. A document is one chunk here."""

    rank_fields: list[str] | None = None
    max_chunks_per_doc: int | None = None

    @property
    def fields(self) -> Sequence[str]:
        return ("text",) if self.rank_fields is None else self.rank_fields


def texts(body: RerankBody) -> list[str]:
    """What is ranked of each document. Raises InvalidInput."""
    if not body.query:
        raise InvalidInput("inputs", "`query` is empty; send a text")
    if not body.documents:
        raise InvalidInput("inputs", "`documents` is empty; send at least one")
    check_count("`documents`", body.documents)
    _check_numbers(body)
    if not body.fields:
        raise InvalidInput("inputs", "`rank_fields` is empty; name a field, or leave it out")
    found = [_text(index, one, body.fields) for index, one in enumerate(body.documents)]
    if not all(found):
        raise InvalidInput("inputs", f"document {found.index('')} is empty; leave it out")
    return found


def whole(document: Document) -> dict[str, Any]:
    """As it comes back."""
    return {"text": document} if isinstance(document, str) else document


def _text(index: int, document: Document, fields: Sequence[str]) -> str:
    if isinstance(document, str):
        return document
    for name in fields:
        if not isinstance(document.get(name), str):
            found = "has no field" if name not in document else "has no text in its field"
            raise InvalidInput("inputs", f"document {index} {found} `{name}`, which is ranked")
    return "\n".join(document[name] for name in fields if document[name])


def _check_numbers(body: RerankBody) -> None:
    if body.top_n is not None and body.top_n < 0:
        raise InvalidInput("inputs", f"top_n is {body.top_n}; send 1 or more, or leave it out")
    if body.max_tokens_per_doc is not None and body.max_tokens_per_doc < 1:
        problem = f"max_tokens_per_doc is {body.max_tokens_per_doc}; send 1 or more"
        raise InvalidInput("truncate", f"{problem}, or leave it out")
    if isinstance(body, RerankBodyV1) and body.max_chunks_per_doc not in (None, 1):
        problem = f"max_chunks_per_doc is {body.max_chunks_per_doc}; a document is one chunk here"
        raise InvalidInput("truncate", f"{problem}, cut to what the model reads: leave it out")
