import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel, Metadata, ModelSource, Spec
from kubeembed_api.document import Recipe as Wanted
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model import resolving
from kubeembed_runtime.model.recipes import Recipe, Told

CONFIG = {"model_type": "bert", "hidden_size": 384, "max_position_embeddings": 512}
CLASSES = "sentence_transformers.models"
NEW_CLASSES = {
    "Transformer": "sentence_transformers.base.modules.transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling",
    "Normalize": "sentence_transformers.base.modules.normalize",
}
Folder = Callable[..., Path]


def modules(*kinds: str, new: bool = False) -> list[dict[str, Any]]:
    """modules.json, as old and new releases write it."""
    return [
        {
            "idx": n,
            "path": "" if n == 0 else f"{n}_{kind}",
            "type": f"{NEW_CLASSES.get(kind) if new else CLASSES}.{kind}",
        }
        for n, kind in enumerate(kinds)
    ]


USUAL: dict[str, Any] = {
    "modules.json": modules("Transformer", "Pooling"),
    "1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
}


def resolve(folder: Path, wanted: Wanted, source: str | None = None) -> Recipe:
    """The recipe as a document says that has `wanted` for its recipe."""
    spec = Spec(model=ModelSource(source=source or f"file://{folder}"), recipe=wanted)
    return resolving.resolve(folder, EmbeddingModel(metadata=Metadata(name="m"), spec=spec))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """({file: what is in it}) -> a folder that holds them."""

    def write(files: dict[str, Any]) -> Path:
        for name, content in {"config.json": CONFIG, **files}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    return write


def test_minilm_says_its_recipe(minilm: Path) -> None:
    recipe = resolve(minilm, Wanted())
    assert recipe.pooling == Told(value="mean", origin="1_Pooling/config.json")
    assert recipe.normalize == Told(value=True, origin="modules.json")
    assert recipe.max_tokens == Told(value=256, origin="sentence_bert_config.json")
    assert recipe.dimensions == Told(value=384, origin="config.json")


def test_fields_of_the_document_override_the_files(minilm: Path) -> None:
    wanted = Wanted(
        pooling="cls", normalize=False, max_tokens=64, dimensions=32, prompts={"query": "Q: "}
    )
    recipe = resolve(minilm, wanted)
    told = {name: getattr(recipe, name) for name in ("pooling", "normalize", "max_tokens")}
    assert told == {
        "pooling": Told(value="cls", origin="spec.recipe.pooling"),
        "normalize": Told(value=False, origin="spec.recipe.normalize"),
        "max_tokens": Told(value=64, origin="spec.recipe.maxTokens"),
    }
    assert recipe.dimensions == Told(value=32, origin="spec.recipe.dimensions")
    assert recipe.prompts == Told(value={"query": "Q: "}, origin="spec.recipe.prompts")


def test_a_document_can_say_what_the_files_do_not(folder: Folder) -> None:
    wanted = Wanted(pooling="lastToken", normalize=True)
    recipe = resolve(folder({}), wanted)
    assert recipe.pooling.value == "lastToken"
    assert recipe.max_tokens == Told(value=512, origin="config.json")


@pytest.mark.parametrize(
    ("files", "tokens", "origin"),
    [
        (
            {"sentence_roberta_config.json": {"max_seq_length": 128}},
            128,
            "sentence_roberta_config.json",
        ),
        ({"tokenizer_config.json": {"model_max_length": 1e30}}, 512, "config.json"),
        ({"tokenizer_config.json": {"model_max_length": 8192}}, 512, "config.json"),
        ({"sentence_bert_config.json": {"max_seq_length": None}}, 512, "config.json"),
    ],
    ids=["old name", "no limit", "more than positions", "null"],
)
def test_the_length_is_the_first_that_a_file_tells(
    folder: Folder, files: dict[str, Any], tokens: int, origin: str
) -> None:
    recipe = resolve(folder({**USUAL, **files}), Wanted())
    assert recipe.max_tokens == Told(value=tokens, origin=origin)


SETTINGS = "config_sentence_transformers.json"
REFUSED: dict[str, tuple[dict[str, Any], Wanted, Reason, str]] = {
    "no pooling": (
        {},
        Wanted(normalize=True),
        Reason.INVALID_RECIPE,
        r"pooling; set spec\.recipe\.pooling \(cls, mean, lastToken\)",
    ),
    "no normalisation": (
        {},
        Wanted(pooling="cls"),
        Reason.INVALID_RECIPE,
        r"normalisation; set spec\.recipe\.normalize \(true or false\)",
    ),
    "no pooling file": (
        {"modules.json": modules("Transformer", "Pooling")},
        Wanted(),
        Reason.INVALID_RECIPE,
        "pooling",
    ),
    "dense layer": (
        {"modules.json": modules("Transformer", "Pooling", "Dense")},
        Wanted(),
        Reason.UNSUPPORTED_MODEL,
        r"a Dense module \(sentence_transformers\.models\.Dense\); supported: Transformer, Pool",
    ),
    "max pooling": (
        {**USUAL, "1_Pooling/config.json": {"pooling_mode_max_tokens": True}},
        Wanted(),
        Reason.UNSUPPORTED_MODEL,
        "pools by max; supported: cls, mean, lasttoken",
    ),
    "two poolings": (
        {**USUAL, "1_Pooling/config.json": {"pooling_mode": ["cls", "mean"]}},
        Wanted(),
        Reason.UNSUPPORTED_MODEL,
        r"pools by cls \+ mean",
    ),
    "prompt not pooled": (
        {**USUAL, "1_Pooling/config.json": {"pooling_mode": "cls", "include_prompt": False}},
        Wanted(),
        Reason.UNSUPPORTED_MODEL,
        "leaves the prompt out",
    ),
    "sparse": (
        {**USUAL, SETTINGS: {"model_type": "SparseEncoder"}},
        Wanted(),
        Reason.UNSUPPORTED_MODEL,
        "says SparseEncoder",
    ),
    "lost prompt": (
        {**USUAL, SETTINGS: {"default_prompt_name": "query", "prompts": {"doc": ""}}},
        Wanted(),
        Reason.INVALID_RECIPE,
        r"the default prompt 'query', which .* lacks; have: \['doc'\]",
    ),
    "too long": (
        USUAL,
        Wanted(max_tokens=513),
        Reason.INVALID_RECIPE,
        r"spec\.recipe\.maxTokens is 513; at most 512",
    ),
    "too wide": (
        USUAL,
        Wanted(dimensions=385),
        Reason.INVALID_RECIPE,
        r"spec\.recipe\.dimensions is 385; the model has 384",
    ),
    "other outputs": (
        USUAL,
        Wanted(outputs=("dense", "sparse")),
        Reason.NOT_SUPPORTED_YET,
        r"write \[dense\]",
    ),
}


@pytest.mark.parametrize(
    ("files", "wanted", "reason", "said"), REFUSED.values(), ids=REFUSED.keys()
)
def test_what_cannot_be_served_rightly_is_refused(
    folder: Folder, files: dict[str, Any], wanted: Wanted, reason: Reason, said: str
) -> None:
    with pytest.raises(StartFailed, match=said) as refused:
        resolve(folder(files), wanted)
    assert refused.value.reason is reason


def test_a_file_that_is_no_json_is_named(folder: Folder) -> None:
    where = folder({})
    (where / "modules.json").write_text("[")
    with pytest.raises(StartFailed, match=r"modules\.json is not JSON") as refused:
        resolve(where, Wanted())
    assert refused.value.reason is Reason.NO_USABLE_FILES
