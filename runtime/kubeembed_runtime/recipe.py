"""kubeembed-runtime recipe: an id, a folder or a document -> its recipe as YAML, each value with who told it.

It reads small files alone: no weights, no network, no torch.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.alias_generators import to_camel

from kubeembed_api.document import EmbeddingModel, Metadata
from kubeembed_api.reasons import Reason
from kubeembed_api.spec import ModelSource, Spec
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model import catalogue
from kubeembed_runtime.model.fingerprint import MANIFEST
from kubeembed_runtime.model.recipes import Recipe
from kubeembed_runtime.model.resolving import resolve, resolve_from_catalogue

_ID = re.compile(r"[\w.-]+/[\w.-]+")


def told(what: str, folder: Path | None, cache: Path, document: EmbeddingModel | None) -> str:
    """what: ORG/NAME, or a folder; the document where it was one. Raises StartFailed."""
    model = document or _model(what)
    known = catalogue.known(model.spec.model.parsed)
    files = folder or _folder(model, cache)
    recipe = resolve_from_catalogue(model) if files is None else resolve(files, model)
    head = [
        f"# {model.spec.model.source}",
        f"# files: {files or f'none, neither given nor in {cache}; this is what is known without'}",
        f"# catalogue: {known.told_by if known else 'not in it'}",
    ]
    return "\n".join([*head, *_lines(recipe)]) + "\n"


def _model(what: str) -> EmbeddingModel:
    """A document that says nothing but where the model is."""
    if Path(what).is_dir():
        source = f"file://{Path(what).resolve()}"
    elif _ID.fullmatch(what):
        source = f"hf://{what}"
    else:
        problem = f"{what!r} is no folder, no document and no ORG/NAME"
        raise StartFailed(Reason.INVALID_SPEC, problem)
    return EmbeddingModel(
        metadata=Metadata(name="recipe"), spec=Spec(model=ModelSource(source=source))
    )


def _folder(model: EmbeddingModel, cache: Path) -> Path | None:
    """Where the model's files already are: in place, or fetched before."""
    source = model.spec.model.parsed
    if source.scheme == "file":
        return Path(f"/{source.path}")
    if model.resolved.key is not None:
        return cache / model.resolved.key
    copies = [
        manifest
        for manifest in cache.glob(f"*/{MANIFEST}")
        if json.loads(manifest.read_text())["source"] == str(source)
    ]
    newest = max(copies, key=lambda manifest: manifest.stat().st_mtime, default=None)
    return None if newest is None else newest.parent


def _lines(recipe: Recipe) -> Iterator[str]:
    """`name: value  # who told it`, the comments in one column where the values are short."""
    plain = recipe.plain()
    for part in ("sparse", "multivector", "score"):
        plain[part] = _spelled(plain[part])
    rows = [(f"{to_camel(name)}: {_flow(value)}", name) for name, value in plain.items()]
    column = max(len(text) for text, _ in rows if len(text) < 60)
    for text, name in rows:
        yield f"{text:<{column}}  # {getattr(recipe, name).origin}"


def _spelled(part: Any) -> Any:
    """Its fields as documents spell fields."""
    return {to_camel(name): value for name, value in part.items()} if part else None


def _flow(value: Any) -> str:
    """On one line, as YAML: JSON is some, and a newline is seen in it."""
    if isinstance(value, str) and value.isalpha():
        return value
    return json.dumps(value, ensure_ascii=False)
