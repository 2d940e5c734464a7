"""What a model's files tell and what the catalogue has of it -> one set of facts.

Two fields are joined and not chosen. Outputs: files tell what their own library reads, so all kinds count
that the catalogue has and the folder has the weights for. Prompts: a prompt that the files name and fill
is theirs, the others are the catalogue's.
"""

from collections.abc import Mapping
from typing import Any

from kubeembed_runtime.model import catalogue
from kubeembed_runtime.model.files import Files
from kubeembed_runtime.model.limits import causal, own_code
from kubeembed_runtime.model.modules import Facts
from kubeembed_runtime.model.recipes import Told
from kubeembed_runtime.requests import Kind

#: Who told what nobody told.
NOBODY = "told nowhere"


def by_architecture(config: Mapping[str, Any]) -> Told[bool]:
    """Is it causal, as far as its type tells: the word of nobody who knows this model."""
    origin = f"config.json, model_type {config.get('model_type')}"
    return Told(value=causal(config), origin=origin)


def attention(config: Mapping[str, Any]) -> Facts:
    """As the architecture has it; but code of a decoder's own may well be there to change that."""
    told = by_architecture(config)
    if told.value and own_code(config) is not None:
        return {}
    return {"causal": told}


def joined(told: Facts, known: catalogue.Entry | None, files: Files) -> Facts:
    """told: by the files, whose word counts unless the card contradicts it."""
    if known is None:
        return told
    facts = {**known.facts, **told, **known.facts_over_files}
    outputs, prompts = _outputs(told, known, files), _all_prompts(told, known.facts)
    return {**facts, "outputs": outputs, **({"prompts": prompts} if prompts else {})}


def _outputs(told: Facts, known: catalogue.Entry, files: Files) -> Told[tuple[Kind, ...]]:
    """The catalogue's, less those whose own file of weights is not there."""
    parts = {"sparse": known.sparse, "multivector": known.multivector}
    beside = {kind: part.file for kind, part in parts.items() if part and part.file}
    there = tuple(
        kind
        for kind in known.outputs
        if not beside.get(kind, "").endswith(".pt") or files.has(beside[kind])
    )
    found = told.get("outputs")
    if found is not None and set(found.value) >= set(there):
        return found
    return Told(value=there, origin=known.facts["outputs"].origin)


def _all_prompts(told: Facts, known: Facts) -> Told[Mapping[str, str]] | None:
    ours, theirs = known.get("prompts"), told.get("prompts")
    if ours is None or theirs is None:
        return ours or theirs
    filled = {name: text for name, text in theirs.value.items() if text}
    if not set(ours.value) - set(filled):
        return theirs
    merged = {**theirs.value, **ours.value, **filled}
    origin = f"{theirs.origin}, {ours.origin}" if filled else ours.origin
    return Told(value=merged, origin=origin)
