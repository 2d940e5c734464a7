"""Notes of the operator on a cache: JSON in an annotation of its claim, one for each node where the claim is
another folder on each."""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from kubeembed_api.keys import keys_in
from kubeembed_api.names import CACHE_ANNOTATION, REMOVE_ANNOTATION
from kubeembed_api.report import UnusedCopy

#: What all notes of a claim may take: the API server takes 256 KiB of annotations.
NOTES_BYTES = 128 * 1024

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """keys: in use. decided: of the last collection; asked: what it was to remove; listed: unused copies that
    it left, as far as they have room; due: when one of them can go.
    """

    keys: frozenset[str] = frozenset()
    decided: float = 0.0
    due: float | None = None
    copies: int | None = None
    bytes: int | None = None
    unused: int | None = None
    unused_bytes: int | None = None
    node: str | None = None
    asked: frozenset[str] = frozenset()
    listed: tuple[UnusedCopy, ...] = ()

    def write(self) -> str:
        listed = [copy.model_dump(by_alias=True, exclude_none=True) for copy in self.listed]
        told = {
            "keys": sorted(self.keys),
            "decided": self.decided,
            "due": self.due,
            "copies": self.copies,
            "bytes": self.bytes,
            "unused": self.unused,
            "unusedBytes": self.unused_bytes,
            "node": self.node,
            "asked": sorted(self.asked) or None,
            "listed": listed or None,
        }
        return json.dumps({name: value for name, value in told.items() if value is not None})


def read_note(claim: Manifest, node: str | None = None) -> Note | None:
    """None where there is none, or somebody wrote nonsense in its place."""
    return read_notes(claim).get(node)


def read_notes(claim: Manifest) -> dict[str | None, Note]:
    """By node; None for a claim that is one folder."""
    notes = map(_read, written(claim).values())
    return {note.node: note for note in notes if note is not None}


def written(claim: Manifest) -> dict[str, str]:
    """The annotations that are notes."""
    annotations = claim["metadata"].get("annotations") or {}
    return {name: text for name, text in annotations.items() if name.startswith(CACHE_ANNOTATION)}


def asked_to_go(claim: Manifest) -> frozenset[str]:
    """Keys that somebody wants removed as soon as no model uses them."""
    return frozenset(keys_in((claim["metadata"].get("annotations") or {}).get(REMOVE_ANNOTATION)))


def bounded(notes: Iterable[Note], here: Collection[str]) -> list[Note]:
    """As many as a claim has room for: without lists of copies before some are left out. Nodes in `here` come
    first, then those that were cleared last: nodes come and go, and one that is long away is given up."""
    notes = list(notes)
    if sum(len(note.write()) for note in notes) > NOTES_BYTES:
        notes = [replace(note, listed=_waited_for(note)) for note in notes]
    ordered = sorted(notes, key=lambda note: (note.node not in here, -note.decided))
    sizes = accumulate(len(note.write()) for note in ordered)
    return [note for note, size in zip(ordered, sizes, strict=True) if size <= NOTES_BYTES]


def _waited_for(note: Note) -> tuple[UnusedCopy, ...]:
    return tuple(copy for copy in note.listed if copy.key in note.asked)


def annotation_of(node: str | None) -> str:
    """A node's name may be longer than that of an annotation."""
    if node is None:
        return CACHE_ANNOTATION
    return f"{CACHE_ANNOTATION}-{hashlib.sha256(node.encode()).hexdigest()[:8]}"


def _read(text: str) -> Note | None:
    try:
        told: dict[str, Any] = json.loads(text)
        return Note(
            keys=frozenset(told["keys"]),
            decided=float(told["decided"]),
            due=told.get("due"),
            copies=told.get("copies"),
            bytes=told.get("bytes"),
            unused=told.get("unused"),
            unused_bytes=told.get("unusedBytes"),
            node=told.get("node"),
            asked=frozenset(told.get("asked") or ()),
            listed=tuple(map(UnusedCopy.model_validate, told.get("listed") or ())),
        )
    except (KeyError, ValueError, TypeError):
        return None
