"""What the document, the model's files and the catalogue tell -> one recipe. Nothing is guessed.

The wrong pooling or prompt ruins retrieval without any error. So, field by field:

1. What spec.recipe says is taken.
2. Else what the model's own files say: vectors are then what the library that wrote them gives. Except for
   the fields that a catalogue entry lists as `overFiles`, because the model's card contradicts its files.
3. Else what the catalogue says, which reads model cards: of E5's prompts no file tells.
4. Else it is an error that names the field to write, where a guess could ruin vectors (pooling, normalize,
   maxTokens); or nothing, where nothing is what libraries do as well (prompts, an appended EOS).

Outputs and prompts are joined, as `joining` says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic.alias_generators import to_camel

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.reasons import Reason
from kubeembed_api.spec import Pooling
from kubeembed_api.spec import Recipe as Wanted
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model import catalogue
from kubeembed_runtime.model.files import Files
from kubeembed_runtime.model.joining import NOBODY, attention, joined
from kubeembed_runtime.model.layouts import told_by_files
from kubeembed_runtime.model.limits import Limits, limits, read_config
from kubeembed_runtime.model.modules import (
    Facts,
    refuse_code_not_run,
    refuse_other_encoders,
    refuse_own_positions,
)
from kubeembed_runtime.model.recipes import Recipe, SparseRecipe, Told
from kubeembed_runtime.requests import Kind

T = TypeVar("T")

#: As sentence-transformers' encode_document looks for one.
DOCUMENT_PROMPTS = ("document", "passage", "corpus")

INSTRUCTION = "{instruction}"


def resolve(folder: Path, model: EmbeddingModel) -> Recipe:
    """The recipe of the model in `folder`. Raises StartFailed: InvalidRecipe or UnsupportedModel."""
    files = Files(folder)
    refuse_other_encoders(files)
    refuse_own_positions(files)
    config = read_config(folder)
    known = catalogue.known(model.spec.model.parsed)
    if known is None and model.spec.model.trust_remote_code:
        refuse_code_not_run(files)
    facts = {**attention(config), **joined(told_by_files(files), known, files)}
    return _Resolution(model.spec.recipe, facts, limits(config)).recipe()


def resolve_from_catalogue(model: EmbeddingModel) -> Recipe:
    """The recipe as far as it is known without the model's files. Raises StartFailed."""
    known = catalogue.known(model.spec.model.parsed)
    if known is None:
        problem = f"{model.spec.model.source} is not in the catalogue"
        raise StartFailed(Reason.INVALID_RECIPE, f"{problem}; give the folder of its files")
    facts = {"causal": Told(value=False, origin=NOBODY), **known.facts}
    return _Resolution(model.spec.recipe, facts, None).recipe()


class _Resolution:
    """Facts and the document that overrides them -> each field of the recipe."""

    def __init__(self, wanted: Wanted, facts: Facts, allowed: Limits | None) -> None:
        self.wanted, self.facts, self.allowed = wanted, facts, allowed
        self.outputs = self._of_outputs()

    def recipe(self) -> Recipe:
        dense = "dense" in self.outputs.value
        prompts = self._prompts()
        return Recipe(
            outputs=self.outputs,
            pooling=self._pooling() if dense else _without("dense", None),
            normalize=self._normalize() if dense else _without("dense", False),
            max_tokens=self._max_tokens(),
            dimensions=self._dimensions() if dense else _without("dense", 0),
            lower=self._told("lower", False),
            truncation=self._told("truncation", "right"),
            prompts=prompts,
            default_prompt=self._default_prompt(prompts),
            query_prompt=_side(prompts, ("query",)),
            document_prompt=_side(prompts, DOCUMENT_PROMPTS),
            instruction=self._instruction(),
            default_instruction=self._told("default_instruction", None),
            include_prompt=self._told("include_prompt", True),
            causal=self._causal(),
            append_eos=self._append_eos(),
            projections=self._told("projections", ()),
            sparse=self._sparse(),
            multivector=self._part("multivector"),
            score=self._part("score"),
        )

    def _said(self, name: str, value: T) -> Told[T]:
        return Told(value=value, origin=f"spec.recipe.{name}")

    def _told(self, name: str, otherwise: T) -> Told[T]:
        """The document's word, else what is known, else `otherwise`."""
        value = getattr(self.wanted, name, None)
        if value is not None:
            return self._said(to_camel(name), value)
        return self.facts.get(name) or Told(value=otherwise, origin=NOBODY)

    def _of_outputs(self) -> Told[tuple[Kind, ...]]:
        found = self.facts.get("outputs") or Told(value=("dense",), origin=NOBODY)
        wanted = self.wanted.outputs
        if wanted is None:
            return found
        possible = {*found.value, "dense", "sparse"}
        lacking = [kind for kind in wanted if kind not in possible]
        if lacking:
            problem = f"spec.recipe.outputs has {', '.join(lacking)}; the model is known to give"
            raise _invalid(f"{problem} {', '.join(found.value)}")
        return self._said("outputs", wanted)

    def _pooling(self) -> Told[Pooling | tuple[Pooling, ...]]:
        found: Told[Pooling | tuple[Pooling, ...] | None] = self._told("pooling", None)
        if found.value is None:
            raise _missing("pooling", "pooling", ", ".join(get_args(Pooling)))
        return Told(value=found.value, origin=found.origin)

    def _normalize(self) -> Told[bool]:
        found: Told[bool | None] = self._told("normalize", None)
        if found.value is None:
            raise _missing("normalisation", "normalize", "true or false")
        return Told(value=found.value, origin=found.origin)

    def _causal(self) -> Told[bool]:
        found: Told[bool | None] = self._told("causal", None)
        if found.value is None:
            raise _missing("direction of attention", "causal", "true or false")
        return Told(value=found.value, origin=found.origin)

    def _max_tokens(self) -> Told[int]:
        found: Told[int | None] = self._told("max_tokens", None)
        positions = self.allowed.positions if self.allowed else None
        if found.value is None:
            if positions is None:
                raise _missing("length", "maxTokens", "a number of tokens")
            return Told(value=positions, origin="config.json")
        if positions is None or found.value <= positions:
            return Told(value=found.value, origin=found.origin)
        if self.wanted.max_tokens is not None:
            problem = f"spec.recipe.maxTokens is {found.value}; at most {positions}"
            raise _invalid(f"{problem}, the model has no more positions")
        return Told(value=positions, origin="config.json")

    def _dimensions(self) -> Told[int]:
        found = self.facts.get("dimensions")
        if self.allowed and not self.facts.get("projections"):
            found = self._pooled_width(self.allowed.width)
        if found is None:
            raise _missing("dimensions", "dimensions", "a number")
        if self.wanted.dimensions is None:
            return self._cut(found)
        if self.wanted.dimensions > found.value:
            problem = f"spec.recipe.dimensions is {self.wanted.dimensions}"
            raise _invalid(f"{problem}; the model has {found.value}")
        return self._said("dimensions", self.wanted.dimensions)

    def _pooled_width(self, hidden: int) -> Told[int]:
        pooling = self._pooling()
        if not isinstance(pooling.value, tuple):
            return Told(value=hidden, origin="config.json")
        width = hidden * len(pooling.value)
        return Told(value=width, origin=f"config.json, {pooling.origin}")

    def _cut(self, whole: Told[int]) -> Told[int]:
        """As the model's own settings shorten its vectors where nobody asks for a length."""
        cut = self.facts.get("truncate_dim")
        if cut is None or cut.value >= whole.value:
            return whole
        told = f"{cut.origin} is {cut.value}"
        if cut.value < 1:
            raise _invalid(f"{told}; set spec.recipe.dimensions (at most {whole.value})")
        if self._normalize().value:
            problem = f"{told}, and its library cuts after normalising, to vectors of other lengths"
            way = f"set spec.recipe.dimensions ({cut.value}: cut, then of length 1"
            raise _invalid(f"{problem} than 1; {way}; {whole.value}: whole)")
        return cut

    def _prompts(self) -> Told[Mapping[str, str]]:
        """A template for instructions is a query's prompt too, filled with the default instruction."""
        found: Told[Mapping[str, str]] = self._told("prompts", {})
        for name, text in (self.wanted.prompts or {}).items():
            if "{text}" in text or INSTRUCTION in text:
                problem = f"spec.recipe.prompts.{name} has a placeholder, and is taken as it is"
                way = "the text follows it by itself, and instructions have spec.recipe.instruction"
                raise _invalid(f"{problem}; {way}")
        template, default = self._instruction(), self._told("default_instruction", None)
        if found.value.get("query") or template.value is None or default.value is None:
            return found
        query = template.value.replace(INSTRUCTION, default.value)
        return Told(value={**found.value, "query": query}, origin=default.origin)

    def _default_prompt(self, prompts: Told[Mapping[str, str]]) -> Told[str]:
        """What stands before a text that names no side: nothing, unless somebody chose a prompt."""
        if self.wanted.default_prompt_name is not None:
            chosen = self._said("defaultPromptName", self.wanted.default_prompt_name)
        elif "default_prompt_name" in self.facts:
            chosen = self.facts["default_prompt_name"]
        else:
            return Told(value="", origin=NOBODY)
        if chosen.value not in prompts.value:
            problem = f"{chosen.origin} names the default prompt {chosen.value!r}"
            lacks = f"{problem}, which {prompts.origin} lacks"
            raise _invalid(f"{lacks}; have: {', '.join(sorted(prompts.value))}")
        return Told(value=prompts.value[chosen.value], origin=chosen.origin)

    def _append_eos(self) -> Told[bool]:
        """Where nobody tells, the files may tell why not."""
        found: Told[bool | None] = self._told("append_eos", None)
        if found.value is None:
            return self.facts.get("no_eos") or Told(value=False, origin=NOBODY)
        return Told(value=found.value, origin=found.origin)

    def _instruction(self) -> Told[str | None]:
        found: Told[str | None] = self._told("instruction", None)
        if found.value is not None and INSTRUCTION not in found.value:
            problem = f"{found.origin} is {found.value!r}, a template without {INSTRUCTION}"
            raise _invalid(f"{problem}; write where a request's instruction goes")
        return found

    def _part(self, kind: Kind) -> Told[Any]:
        if kind in self.outputs.value:
            return self.facts[kind]
        return _without(kind, None)

    def _sparse(self) -> Told[SparseRecipe | None]:
        """A document that asks a masked language model for sparse vectors can only mean SPLADE's."""
        if "sparse" in self.outputs.value and "sparse" not in self.facts:
            return self._said("outputs", SparseRecipe(kind="mlm", activation="log1p_relu"))
        return self._part("sparse")


def _side(prompts: Told[Mapping[str, str]], names: tuple[str, ...]) -> Told[str]:
    """The first of these prompts."""
    found = next((name for name in names if name in prompts.value), None)
    if found is None:
        return Told(value="", origin=NOBODY)
    return Told(value=prompts.value[found], origin=prompts.origin)


def _without(kind: Kind, value: T) -> Told[T]:
    return Told(value=value, origin=f"no {kind} output")


def _invalid(problem: str) -> StartFailed:
    return StartFailed(Reason.INVALID_RECIPE, problem)


def _missing(what: str, field: str, choices: str) -> StartFailed:
    problem = f"neither the model's files nor the catalogue tell its {what}"
    return _invalid(f"{problem}; set spec.recipe.{field} ({choices}) as the model's card says")
