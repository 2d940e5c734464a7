"""What a model's files tell that would change its vectors, and is either followed or an error by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel, Metadata
from kubeembed_api.reasons import Reason
from kubeembed_api.spec import ModelSource, Spec
from kubeembed_api.spec import Recipe as Wanted
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.limits import limits
from kubeembed_runtime.model.recipes import Recipe, Told
from kubeembed_runtime.model.resolving import resolve

BERT = {"model_type": "bert", "hidden_size": 32, "max_position_embeddings": 64}
SETTINGS = "config_sentence_transformers.json"
TRANSFORMER = "sentence_bert_config.json"
IDENTITY = "torch.nn.modules.linear.Identity"
SIGMOID = "torch.nn.modules.activation.Sigmoid"
LEFT = {"direction": "Left", "max_length": 64, "strategy": "LongestFirst", "stride": 0}
Resolve = Callable[..., Recipe]


def modules(**paths: str) -> list[dict[str, Any]]:
    """kind=folder, in order."""
    return [
        {"idx": n, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (kind, path) in enumerate(paths.items())
    ]


MEAN: dict[str, Any] = {
    "config.json": BERT,
    "modules.json": modules(Transformer="", Pooling="1_Pooling"),
    "1_Pooling/config.json": {"pooling_mode": "mean"},
}
PROJECTED: dict[str, Any] = {
    **MEAN,
    "modules.json": modules(Transformer="", Pooling="1_Pooling", Dense="2_Dense"),
}
TOKENS: dict[str, Any] = {
    "config.json": BERT,
    "modules.json": modules(Transformer="", Dense="1_Dense"),
    "1_Dense/config.json": {"out_features": 8, "module_input_name": "token_embeddings"},
    "tokenizer_config.json": {"mask_token": {"content": "[MASK]"}},
    SETTINGS: {"model_type": "MultiVectorEncoder"},
}
SCORES = {**BERT, "architectures": ["BertForSequenceClassification"], "id2label": {"0": "L"}}
PAIRS: dict[str, Any] = {"config.json": SCORES, "modules.json": modules(Transformer="")}


@pytest.fixture
def resolved(tmp_path: Path) -> Resolve:
    """({file: what is in it}, what the document says) -> the recipe."""

    def write(files: dict[str, Any], **wanted: Any) -> Recipe:
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        for name, content in files.items():
            file = tmp_path / "model" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content if isinstance(content, str) else json.dumps(content))
        source = ModelSource(source=f"file://{tmp_path / 'model'}")
        spec = Spec(model=source, recipe=Wanted(**wanted))
        document = EmbeddingModel(metadata=Metadata(name="m"), spec=spec)
        return resolve(tmp_path / "model", document)

    return write


def texts(**told: Any) -> dict[str, Any]:
    return {**MEAN, TRANSFORMER: told}


def expanded(**told: Any) -> dict[str, Any]:
    usual = {"strategy": "fixed", "length": 32}
    return {**TOKENS, TRANSFORMER: {"query_expansion": {**usual, **told}}}


FORWARD = {"method": "forward", "method_output_name": "last_hidden_state"}
#: The files, and what is said of them.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "chat template": (
        texts(modality_config={"text": FORWARD, "message": {**FORWARD, "format": "flat"}}),
        rf"{TRANSFORMER} has message in modality_config; supported: text; .* chat template",
    ),
    "another method": (
        texts(modality_config={"text": {"method": "get_text_features"}}),
        "has get_text_features for texts in modality_config; supported: forward",
    ),
    "another task": (
        texts(transformer_task="retrieval"),
        "has transformer_task retrieval; supported: feature-extraction, fill-mask",
    ),
    "arguments of each call": (
        texts(processing_kwargs={"text": {"max_length": 8}}),
        rf"{TRANSFORMER} has processing_kwargs for text, which changes",
    ),
    "another tokenizer": (
        texts(tokenizer_name_or_path="acme/words"),
        "has tokenizer_name_or_path acme/words; supported: the tokenizer beside the model",
    ),
    "arguments of the configuration": (
        texts(config_kwargs={"is_causal": False, "use_cache": False}),
        rf"{TRANSFORMER} has is_causal in config_kwargs, .* write it in config\.json",
    ),
    "old arguments of the tokenizer": (
        texts(tokenizer_args={"add_eos_token": True}),
        r"has add_eos_token in tokenizer_args, .* tokens into tokenizer\.json's post_processor",
    ),
    "arguments of the tokenizer": (
        texts(processor_kwargs={"add_prefix_space": True, "add_eos_token": True}),
        r"has add_prefix_space, add_eos_token in .* write it in tokenizer_config\.json",
    ),
    "a side's length": (
        texts(query_length=8),
        rf"{TRANSFORMER} has query_length 8; supported with model_type MultiVectorEncoder",
    ),
    "expansion by as much": (
        expanded(strategy="min"),
        "query_expansion has strategy 'min'; supported: 'fixed'",
    ),
    "expansion by another token": (
        expanded(token="[PAD]"),
        r"query_expansion has token '\[PAD\]'; supported: the tokenizer's mask_token, '\[MASK\]'",
    ),
    "expansion to no length": (expanded(length=None), "query_expansion has length None; write"),
    "projected tokens": (
        {**PROJECTED, "2_Dense/config.json": {"out_features": 8, "module_input_name": "scores"}},
        r"2_Dense/config\.json has module_input_name scores; supported: sentence_embedding",
    ),
    "projected away": (
        {**PROJECTED, "2_Dense/config.json": {"out_features": 8, "module_output_name": "other"}},
        r"2_Dense/config\.json has module_output_name other; supported: sentence_embedding",
    ),
    "projected tokens before the pooling's end": (
        {
            **PROJECTED,
            "2_Dense/config.json": {"out_features": 8, "module_input_name": "token_embeddings"},
        },
        r"has module_input_name token_embeddings; supported: sentence_embedding",
    ),
    "no padding to count from": (
        {**MEAN, "config.json": {**BERT, "model_type": "roberta", "pad_token_id": None}},
        r"config\.json has pad_token_id None; supported: the id of a token, after which positions",
    ),
    "an adapter over the weights": (
        {**MEAN, "adapter_config.json": {"base_model_name_or_path": "acme/base"}},
        r"adapter_config\.json lies where .* base model in spec\.model .* in spec\.adapters",
    ),
    "an adapter alone": (
        {"adapter_config.json": {}},
        r"adapter_config\.json lies where .* in spec\.adapters",
    ),
    "a folder of the transformer's": (
        {
            **MEAN,
            "modules.json": modules(Transformer="0_Transformer", Pooling="1_Pooling"),
            "0_Transformer/config.json": {**BERT, "hidden_size": 16},
        },
        r"modules\.json has its first module, Transformer, in 0_Transformer; supported",
    ),
    "static embeddings": (
        {"modules.json": modules(StaticEmbedding="0_StaticEmbedding")},
        r"modules\.json has its first module, StaticEmbedding, in 0_StaticEmbedding; supported",
    ),
    "static embeddings at the root": (
        {"modules.json": modules(StaticEmbedding="")},
        r"modules\.json has its first module, StaticEmbedding, in the root; supported",
    ),
    "an activation of its own": (
        {**PAIRS, SETTINGS: {"model_type": "CrossEncoder", "activation_fn": "acme.nn.Sigmoid"}},
        rf"{SETTINGS} activates scores by acme\.nn\.Sigmoid; supported: Sigmoid, Identity of torch",
    ),
    "a cut after normalising": (
        {
            **MEAN,
            "modules.json": modules(Transformer="", Pooling="1_Pooling", Normalize="2"),
            SETTINGS: {"truncate_dim": 16},
        },
        rf"{SETTINGS}, truncate_dim is 16, .* set spec\.recipe\.dimensions \(16: .*; 32: whole\)",
    ),
    "a cut to nothing": (
        {**MEAN, SETTINGS: {"truncate_dim": 0}},
        r"truncate_dim is 0; set spec\.recipe\.dimensions \(at most 32\)",
    ),
}


@pytest.mark.parametrize(("files", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_change_vectors_unseen_is_refused(
    files: dict[str, Any], said: str, resolved: Resolve
) -> None:
    more = {"pooling": "mean", "normalize": False} if "modules.json" not in files else {}
    with pytest.raises(StartFailed, match=said) as refused:
        resolved(files, **more)
    assert refused.value.reason in (Reason.UNSUPPORTED_MODEL, Reason.INVALID_RECIPE)


@pytest.mark.parametrize(
    "told",
    [
        {"max_seq_length": 64, "do_lower_case": False},
        {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": FORWARD},
            "module_output_name": "token_embeddings",
        },
        {"processing_kwargs": {}, "model_kwargs": {}, "query_expansion": None},
        {"model_args": {"torch_dtype": "bfloat16", "attn_implementation": "sdpa"}},
        {"config_args": {"unpad_inputs": True, "use_memory_efficient_attention": True}},
        {"processor_kwargs": {"padding_side": "left"}, "unpad_inputs": False},
    ],
    ids=["old", "new", "empty", "of the model", "of its configuration", "of the tokenizer"],
)
def test_what_changes_no_vector_is_let_be(told: dict[str, Any], resolved: Resolve) -> None:
    assert resolved(texts(**told)).plain() == resolved(MEAN).plain()


def test_arguments_of_the_tokenizer_come_before_its_own_file(resolved: Resolve) -> None:
    arguments = {"model_max_length": 48, "truncation_side": "left"}
    own = {"tokenizer_config.json": {"model_max_length": 32, "truncation_side": "right"}}
    recipe = resolved(texts(max_seq_length=40, processor_kwargs=arguments) | own)
    assert recipe.max_tokens == Told(value=48, origin=TRANSFORMER)
    assert recipe.truncation == Told(value="left", origin=TRANSFORMER)


@pytest.mark.parametrize(
    ("settings", "config", "activation"),
    [(IDENTITY, SIGMOID, "identity"), (SIGMOID, IDENTITY, "sigmoid"), (None, IDENTITY, "identity")],
)
def test_a_cross_encoder_s_settings_come_before_its_configuration(
    settings: str | None, config: str, activation: str, resolved: Resolve
) -> None:
    told = {**SCORES, "sentence_transformers": {"activation_fn": config}}
    more = {"model_type": "CrossEncoder", "activation_fn": settings}
    recipe = resolved({**PAIRS, "config.json": told, SETTINGS: more})
    assert recipe.score.value is not None
    assert recipe.score.value.activation == activation
    assert recipe.score.origin == (SETTINGS if settings else "config.json")


@pytest.mark.parametrize("settings", [{"model_type": "SentenceTransformer"}, {}])
def test_an_architecture_left_over_makes_no_cross_encoder(
    settings: dict[str, Any], resolved: Resolve
) -> None:
    recipe = resolved({**MEAN, "config.json": SCORES, SETTINGS: settings})
    assert (recipe.outputs.value, recipe.pooling.value) == (("dense",), "mean")


def test_an_architecture_of_scores_alone_is_a_cross_encoder_s(resolved: Resolve) -> None:
    for files in ({"config.json": SCORES}, PAIRS):
        assert resolved(files).outputs.value == ("score",)


def test_what_queries_are_filled_up_with_is_named_as_transformers_names_it(
    resolved: Resolve,
) -> None:
    """special_tokens_map.json counts before the configuration, unless that lists its added tokens."""
    own = {"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": "[OTHER]"}
    files = {"special_tokens_map.json": {"mask_token": "[MASK]"}, "tokenizer_config.json": own}
    told = {**expanded(token="[MASK]"), **files}
    assert resolved(told).outputs.value == ("multivector",)
    own |= {"added_tokens_decoder": {}}
    with pytest.raises(StartFailed, match=r"supported: the tokenizer's mask_token, '\[OTHER\]'"):
        resolved({**told, "tokenizer_config.json": own})
    decoder = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}
    assert resolved({**expanded(token="</s>"), "tokenizer_config.json": decoder})


@pytest.mark.parametrize("token", [None, "[MASK]"])
def test_queries_are_filled_up_with_the_mask_token(token: str | None, resolved: Resolve) -> None:
    recipe = resolved(expanded(token=token)).multivector.value
    assert recipe is not None
    assert (recipe.expand, recipe.query_tokens) == (True, 32)


@pytest.mark.parametrize(
    ("stored", "config", "truncation"),
    [
        ({"version": "1.0", "truncation": LEFT}, {}, ("left", "tokenizer.json, truncation")),
        ({"truncation": LEFT, "version": "1.0"}, {}, ("left", "tokenizer.json, truncation")),
        ({"version": "1.0", "truncation": None}, {}, ("right", "told nowhere")),
        (
            {"version": "1.0", "truncation": {**LEFT, "direction": "Right"}},
            {},
            ("right", "told nowhere"),
        ),
        (
            {"version": "1.0", "truncation": LEFT},
            {"truncation_side": "right"},
            ("right", "tokenizer_config.json"),
        ),
    ],
    ids=["left", "in another order", "none", "right", "told by the configuration"],
)
def test_the_tokenizer_s_stored_truncation_tells_its_side(
    stored: dict[str, Any], config: dict[str, Any], truncation: tuple[str, str], resolved: Resolve
) -> None:
    files = {**MEAN, "tokenizer.json": stored, "tokenizer_config.json": config}
    found = resolved(files).truncation
    assert (found.value, found.origin) == truncation


def test_of_a_long_tokenizer_the_head_alone_is_read(resolved: Resolve) -> None:
    head = json.dumps({"version": "1.0", "truncation": LEFT}, indent=2).removesuffix("\n}")
    recipe = resolved({**MEAN, "tokenizer.json": head + ',\n  "added_tokens": [' + " " * 4096})
    assert recipe.truncation.value == "left"


def test_a_cut_of_the_settings_is_taken_where_nobody_asks_for_dimensions(
    resolved: Resolve,
) -> None:
    files = {**MEAN, SETTINGS: {"truncate_dim": 16}}
    assert resolved(files).dimensions == Told(value=16, origin=f"{SETTINGS}, truncate_dim")
    assert resolved(files, dimensions=24).dimensions.value == 24
    assert resolved({**MEAN, SETTINGS: {"truncate_dim": 64}}).dimensions.value == 32


def test_t5_reads_more_than_it_was_trained_on(resolved: Resolve) -> None:
    config = {"model_type": "t5", "d_model": 32, "n_positions": 512}
    assert limits(config).positions is None
    recipe = resolved({**texts(max_seq_length=1024), "config.json": config})
    assert recipe.max_tokens == Told(value=1024, origin=TRANSFORMER)
