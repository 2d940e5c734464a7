import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kubeembed_api.document import EmbeddingModel, Metadata
from kubeembed_api.reasons import Reason
from kubeembed_api.spec import ModelSource, Spec
from kubeembed_api.spec import Recipe as Wanted
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model import resolving
from kubeembed_runtime.model.recipes import Recipe, SparseRecipe, Told

T = TypeVar("T")
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


def nobody(value: T) -> Told[T]:
    return Told(value=value, origin="told nowhere")


def test_minilm_says_its_recipe(minilm: Path) -> None:
    assert resolve(minilm, Wanted()) == Recipe(
        outputs=Told(value=("dense",), origin="modules.json"),
        pooling=Told(value="mean", origin="1_Pooling/config.json"),
        normalize=Told(value=True, origin="modules.json"),
        max_tokens=Told(value=256, origin="sentence_bert_config.json"),
        dimensions=Told(value=384, origin="config.json"),
        lower=Told(value=False, origin="sentence_bert_config.json"),
        truncation=nobody("right"),
        prompts=nobody({}),
        default_prompt=nobody(""),
        query_prompt=nobody(""),
        document_prompt=nobody(""),
        instruction=nobody(None),
        default_instruction=nobody(None),
        include_prompt=Told(value=True, origin="1_Pooling/config.json"),
        causal=Told(value=False, origin="config.json, model_type bert"),
        append_eos=nobody(False),
        projections=nobody(()),
        sparse=Told(value=None, origin="no sparse output"),
        multivector=Told(value=None, origin="no multivector output"),
        score=Told(value=None, origin="no score output"),
    )


def test_the_files_of_a_new_release_say_the_same(folder: Folder) -> None:
    files = {
        "modules.json": modules("Transformer", "Pooling", "Normalize", new=True),
        "1_Pooling/config.json": {"pooling_mode": "lasttoken", "include_prompt": True},
        "sentence_bert_config.json": {"transformer_task": "feature-extraction"},
        "tokenizer_config.json": {"model_max_length": 128},
        "config_sentence_transformers.json": {
            "model_type": "SentenceTransformer",
            "prompts": {"query": "query: ", "document": ""},
            "default_prompt_name": "query",
        },
    }
    recipe = resolve(folder(files), Wanted())
    assert (recipe.pooling.value, recipe.normalize.value) == ("lastToken", True)
    assert recipe.max_tokens == Told(value=128, origin="tokenizer_config.json")
    assert recipe.prompts.value == {"query": "query: ", "document": ""}
    assert recipe.default_prompt.value == recipe.query_prompt.value == "query: "


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


@pytest.mark.parametrize(
    ("told", "modes"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, ("max", "mean")),
        ({"pooling_mode": ["weightedmean", "cls"]}, ("weightedMean", "cls")),
        ({"pooling_mode": ["mean_sqrt_len_tokens"]}, "meanSqrtLength"),
        ({"pooling_mode": "max", "pooling_mode_cls_token": True}, "max"),
    ],
    ids=["flags", "names", "one name", "a name before flags"],
)
def test_several_poolings_make_one_wide_vector(
    folder: Folder, told: dict[str, Any], modes: Any
) -> None:
    where = folder({**USUAL, "1_Pooling/config.json": told})
    recipe = resolve(where, Wanted())
    assert recipe.pooling == Told(value=modes, origin="1_Pooling/config.json")
    several = isinstance(modes, tuple)
    assert recipe.dimensions.value == 384 * (2 if several else 1)
    assert recipe.plain()["pooling"] == (list(modes) if several else modes)
    assert resolve(where, Wanted(pooling="cls")).dimensions.value == 384


SETTINGS = "config_sentence_transformers.json"
REFUSED: dict[str, tuple[dict[str, Any], Wanted, Reason, str]] = {
    "no pooling": (
        {},
        Wanted(normalize=True),
        Reason.INVALID_RECIPE,
        r"pooling; set spec\.recipe\.pooling \(cls, max, mean, meanSqrtLength, weightedMean, lastToken\)",
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
    "unknown module": (
        {"modules.json": modules("Transformer", "Pooling", "LSTM")},
        Wanted(),
        Reason.UNSUPPORTED_MODEL,
        "has a LSTM module; supported here: Transformer, Pooling, Dense, Normalize",
    ),
    "modules in another order": (
        {"modules.json": modules("Transformer", "Normalize", "Pooling")},
        Wanted(),
        Reason.UNSUPPORTED_MODEL,
        "has Transformer, Normalize, Pooling; supported: Transformer, Pooling",
    ),
    "pooling by nothing": (
        {**USUAL, "1_Pooling/config.json": {"pooling_mode_mean_tokens": False}},
        Wanted(),
        Reason.INVALID_RECIPE,
        r"tell its pooling; set spec\.recipe\.pooling",
    ),
    "an unknown pooling": (
        {**USUAL, "1_Pooling/config.json": {"pooling_mode": ["cls", "median"]}},
        Wanted(),
        Reason.UNSUPPORTED_MODEL,
        "1_Pooling/config.json pools by median; supported: cls, max, mean, mean_sqrt_len_tokens",
    ),
    "another kind of model": (
        {**USUAL, SETTINGS: {"model_type": "ImageEncoder"}},
        Wanted(),
        Reason.UNSUPPORTED_MODEL,
        "says model_type ImageEncoder",
    ),
    "lost prompt": (
        {**USUAL, SETTINGS: {"default_prompt_name": "query", "prompts": {"doc": ""}}},
        Wanted(),
        Reason.INVALID_RECIPE,
        r"the default prompt 'query', which .* lacks; have: doc",
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
    "outputs of another model": (
        USUAL,
        Wanted(outputs=("dense", "score")),
        Reason.INVALID_RECIPE,
        r"spec\.recipe\.outputs has score; the model is known to give dense",
    ),
    "prompt with a placeholder": (
        USUAL,
        Wanted(prompts={"query": "query: {text}"}),
        Reason.INVALID_RECIPE,
        r"spec\.recipe\.prompts\.query has a placeholder",
    ),
    "instruction without a placeholder": (
        USUAL,
        Wanted(instruction="Instruct: "),
        Reason.INVALID_RECIPE,
        r"spec\.recipe\.instruction is 'Instruct: ', a template without \{instruction\}",
    ),
    "default prompt of another model": (
        USUAL,
        Wanted(prompts={"query": "q"}, default_prompt_name="doc"),
        Reason.INVALID_RECIPE,
        r"spec\.recipe\.defaultPromptName names the default prompt 'doc'",
    ),
    "decoder with code of its own": (
        {**USUAL, "config.json": {**CONFIG, "model_type": "qwen2", "auto_map": {"AutoModel": "m"}}},
        Wanted(),
        Reason.INVALID_RECIPE,
        r"direction of attention; set spec\.recipe\.causal",
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


@pytest.mark.parametrize(
    ("config", "causal", "origin"),
    [
        ({"model_type": "qwen2"}, True, "config.json, model_type qwen2"),
        ({"model_type": "qwen2", "is_causal": False}, False, "config.json, is_causal"),
        ({"model_type": "bert"}, False, "config.json, model_type bert"),
        (
            {"model_type": "gemma3_text", "use_bidirectional_attention": True},
            False,
            "config.json, use_bidirectional_attention",
        ),
    ],
    ids=["decoder", "decoder without causality", "encoder", "gemma"],
)
def test_the_direction_of_attention_is_told_by_the_configuration(
    folder: Folder, config: dict[str, Any], causal: bool, origin: str
) -> None:
    recipe = resolve(folder({**USUAL, "config.json": {**CONFIG, **config}}), Wanted())
    assert recipe.causal == Told(value=causal, origin=origin)


def test_positions_are_counted_as_the_architecture_does(folder: Folder) -> None:
    """XLM-R's begin at its padding index + 1: of 8,194 there are 8,192 for tokens."""
    config = {"model_type": "xlm-roberta", "hidden_size": 8, "max_position_embeddings": 8194}
    recipe = resolve(folder({**USUAL, "config.json": {**config, "pad_token_id": 1}}), Wanted())
    assert recipe.max_tokens == Told(value=8192, origin="config.json")


def test_a_model_without_positions_must_be_told_its_length(folder: Folder) -> None:
    where = folder({**USUAL, "config.json": {"model_type": "t5", "d_model": 8}})
    with pytest.raises(StartFailed, match=r"length; set spec\.recipe\.maxTokens"):
        resolve(where, Wanted())
    assert resolve(where, Wanted(max_tokens=77)).max_tokens.value == 77


def test_an_end_that_the_libraries_ignore_is_told_and_not_appended(folder: Folder) -> None:
    """Until transformers 5, add_eos_token appended one to the texts of some tokenizers."""
    where = folder({**USUAL, "tokenizer_config.json": {"add_eos_token": True}})
    found = resolve(where, Wanted()).append_eos
    assert found.value is False
    assert found.origin.startswith("tokenizer_config.json, add_eos_token counts no more")
    assert resolve(where, Wanted(append_eos=True)).append_eos.origin == "spec.recipe.appendEos"


@pytest.mark.parametrize(
    ("wanted", "field", "value"),
    [
        (Wanted(truncation="refuse"), "truncation", "refuse"),
        (Wanted(append_eos=True), "append_eos", True),
        (Wanted(causal=True), "causal", True),
        (Wanted(default_instruction="Do"), "default_instruction", "Do"),
        (Wanted(instruction="I: {instruction} Q: "), "instruction", "I: {instruction} Q: "),
        (Wanted(prompts={"a": "A: "}, default_prompt_name="a"), "default_prompt", "A: "),
        (Wanted(prompts={"passage": "P: "}), "document_prompt", "P: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_document_has_a_say_in(
    folder: Folder, wanted: Wanted, field: str, value: object
) -> None:
    assert getattr(resolve(folder(USUAL), wanted), field).value == value


def test_projections_after_the_pooling_are_named_and_decide_over_the_width(folder: Folder) -> None:
    files = {
        **USUAL,
        "modules.json": modules("Transformer", "Pooling", "Dense", "Normalize"),
        "2_Dense/config.json": {"in_features": 384, "out_features": 1024},
    }
    recipe = resolve(folder(files), Wanted())
    assert recipe.projections == Told(value=("2_Dense",), origin="modules.json")
    assert recipe.dimensions == Told(value=1024, origin="2_Dense/config.json")


def test_sparse_vectors_of_a_masked_language_model_are_splades(folder: Folder) -> None:
    recipe = resolve(folder({}), Wanted(outputs=("sparse",)))
    assert recipe.outputs == Told(value=("sparse",), origin="spec.recipe.outputs")
    assert recipe.sparse.value == SparseRecipe(kind="mlm", activation="log1p_relu")
    assert recipe.pooling == Told(value=None, origin="no dense output")
