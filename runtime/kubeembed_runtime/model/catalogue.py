"""recipes.yaml -> what is known of a model beside its own files, from its card.

An entry is found by the source of the document, hf://ORG/NAME: a folder has no name, and config.json's
`_name_or_path` is wherever its author last loaded it from. Keys are spelled as in spec.recipe.
"""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kubeembed_api.reasons import Reason
from kubeembed_api.sources import Source
from kubeembed_api.spec import Output, Pooling
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.modules import Facts
from kubeembed_runtime.model.recipes import (
    MultivectorRecipe,
    Recipe,
    ScoreRecipe,
    SparseRecipe,
    Told,
)

Count = Annotated[int, Field(ge=1)]


def _part(kind: type[Any]) -> BeforeValidator:
    """Keys in camel case -> the dataclass, which refuses those that it does not know."""
    known = {to_camel(field.name): field.name for field in fields(kind)}

    def build(written: Mapping[str, Any]) -> Any:
        plain = {key: tuple(v) if isinstance(v, list) else v for key, v in written.items()}
        return kind(**{known.get(key, key): value for key, value in plain.items()})

    return BeforeValidator(build)


class Entry(BaseModel):
    """A model of the catalogue. None means that its files tell it, or that it has none.

    told_by: where the facts come from. over_files: fields that are taken from here although the files tell
    them, because the card says otherwise.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    id: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    told_by: str
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)]
    pooling: Pooling | None = None
    normalize: bool | None = None
    max_tokens: Count | None = None
    dimensions: Count | None = None
    truncation: Literal["right", "left"] | None = None
    prompts: Mapping[str, str] | None = None
    default_prompt_name: str | None = None
    instruction: str | None = None
    default_instruction: str | None = None
    include_prompt: bool | None = None
    causal: bool | None = None
    append_eos: bool | None = None
    projections: tuple[str, ...] | None = None
    sparse: Annotated[SparseRecipe | None, _part(SparseRecipe)] = None
    multivector: Annotated[MultivectorRecipe | None, _part(MultivectorRecipe)] = None
    score: Annotated[ScoreRecipe | None, _part(ScoreRecipe)] = None
    over_files: tuple[str, ...] = ()

    @property
    def facts(self) -> Facts:
        """By the names of Recipe, and `default_prompt_name`."""
        names = ("default_prompt_name", *(field.name for field in fields(Recipe)))
        values = {name: getattr(self, name, None) for name in names}
        return {
            name: Told(value=value, origin="catalogue")
            for name, value in values.items()
            if value is not None
        }

    @property
    def facts_over_files(self) -> Facts:
        return {
            name: told for name, told in self.facts.items() if to_camel(name) in self.over_files
        }


@cache
def _written() -> Mapping[str, Any]:
    text = (files("kubeembed_runtime.model") / "recipes.yaml").read_text(encoding="utf-8")
    written: Mapping[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return written


@cache
def entries() -> Mapping[str, Mapping[str, Any]]:
    """Every entry as it is written, by id in lower case: the hub takes either."""
    return {entry["id"].lower(): entry for entry in _written()["models"]}


@cache
def unsupported() -> Mapping[str, str]:
    """What models compute that nobody here does, by id in lower case."""
    return {name.lower(): why for name, why in _written()["unsupported"].items()}


def known(source: Source) -> Entry | None:
    """The entry of a document's source; nothing but the hub has names. Raises StartFailed."""
    if source.scheme != "hf":
        return None
    why = unsupported().get(source.host.lower())
    if why is not None:
        problem = f"{source.host} needs code of its own: {why}"
        way = "it is not supported, with spec.model.trustRemoteCode either; name another model"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; {way}")
    return find(source.host)


def find(name: str) -> Entry | None:
    """The entry of ORG/NAME."""
    found = entries().get(name.lower())
    return None if found is None else Entry.model_validate(found)
