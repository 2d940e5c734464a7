"""The files that other libraries leave beside their models, told apart and read."""

import json
import string
from pathlib import Path
from typing import Any

import pytest

from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.files import Files
from kubeembed_runtime.model.layouts import told_by_files
from kubeembed_runtime.model.modules import Facts
from kubeembed_runtime.model.recipes import MultivectorRecipe, ScoreRecipe, SparseRecipe

BERT = {"model_type": "bert", "hidden_size": 8, "max_position_embeddings": 16}
SETTINGS = "config_sentence_transformers.json"
PUNCTUATION = tuple(string.punctuation)


def told(folder: Path, files: dict[str, Any]) -> Facts:
    for name, content in {"config.json": BERT, **files}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return told_by_files(Files(folder))


def modules(**paths: str) -> list[dict[str, Any]]:
    """kind=folder, in order."""
    return [
        {"idx": n, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (kind, path) in enumerate(paths.items())
    ]


CLASSIFIER = {**BERT, "architectures": ["BertForSequenceClassification"]}
ONE = {"id2label": {"0": "LABEL_0"}}
IDENTITY = "torch.nn.modules.linear.Identity"
SIGMOID = "torch.nn.modules.activation.Sigmoid"


@pytest.mark.parametrize(
    ("config", "settings", "labels", "activation"),
    [
        (ONE, {}, 1, "sigmoid"),
        ({"id2label": {"0": "no", "1": "maybe", "2": "yes"}}, {}, 3, "identity"),
        ({}, {}, 2, "identity"),
        ({**ONE, "sbert_ce_default_activation_function": IDENTITY}, {}, 1, "identity"),
        ({**ONE, "sentence_transformers": {"activation_fn": IDENTITY}}, {}, 1, "identity"),
        (ONE, {"activation_fn": IDENTITY}, 1, "identity"),
        ({}, {"activation_fn": SIGMOID}, 2, "sigmoid"),
    ],
    ids=["one", "three", "unnamed", "old", "version 4", "version 5", "two with sigmoid"],
)
def test_a_cross_encoder_tells_its_labels_and_activation(
    tmp_path: Path,
    config: dict[str, Any],
    settings: dict[str, Any],
    labels: int,
    activation: Any,
) -> None:
    facts = told(tmp_path, {"config.json": {**CLASSIFIER, **config}, SETTINGS: settings})
    assert facts["outputs"].value == ("score",)
    assert facts["score"].value == ScoreRecipe(labels=labels, activation=activation)


@pytest.mark.parametrize(
    ("pooling", "activation"),
    [({}, "log1p_relu"), ({"activation_function": "log1p_relu"}, "log1p_log1p_relu")],
    ids=["usual", "twice"],
)
def test_a_sparse_encoder_tells_its_activation(
    tmp_path: Path, pooling: dict[str, Any], activation: Any
) -> None:
    files = {
        SETTINGS: {"model_type": "SparseEncoder"},
        "modules.json": modules(MLMTransformer="", SpladePooling="1_SpladePooling"),
        "1_SpladePooling/config.json": {"pooling_strategy": "max", **pooling},
    }
    facts = told(tmp_path, files)
    assert facts["outputs"].value == ("sparse",)
    assert facts["sparse"].value == SparseRecipe(kind="mlm", activation=activation)
    assert facts["sparse"].origin == "1_SpladePooling/config.json"


ROUTES = "sentence_transformers.sparse_encoder.models"
ROUTER = {
    "types": {
        "query_0_SparseStaticEmbedding": f"{ROUTES}.SparseStaticEmbedding.SparseStaticEmbedding",
        "": f"{ROUTES}.MLMTransformer.MLMTransformer",
        "document_1_SpladePooling": f"{ROUTES}.SpladePooling.SpladePooling",
    },
    "structure": {
        "query": ["query_0_SparseStaticEmbedding"],
        "document": ["", "document_1_SpladePooling"],
    },
}


def test_a_router_of_fixed_weights_for_queries_encodes_documents_alone(tmp_path: Path) -> None:
    files = {
        "modules.json": modules(Router=""),
        SETTINGS: {"model_type": "SparseEncoder"},
        "router_config.json": ROUTER,
        "document_1_SpladePooling/config.json": {"activation_function": "log1p_relu"},
    }
    assert told(tmp_path, files)["sparse"].value == SparseRecipe(
        kind="mlm", activation="log1p_log1p_relu", documents_only=True
    )


PYLATE = {
    "model_type": "ColBERT",
    "query_prefix": "[Q] ",
    "document_prefix": "[D] ",
    "query_length": 32,
    "document_length": 300,
    "attend_to_expansion_tokens": False,
    "skiplist_words": ["!", "."],
}


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, {}),
        ({"attend_to_expansion_tokens": True}, {"attend_expansion": True}),
        ({"do_query_expansion": False}, {"expand": False}),
        ({"query_length": 64}, {"query_tokens": 64}),
    ],
    ids=["usual", "attended", "no expansion", "long queries"],
)
def test_pylate_tells_how_texts_are_dressed(
    tmp_path: Path, change: dict[str, Any], differs: dict[str, Any]
) -> None:
    files = {
        SETTINGS: PYLATE | change,
        "modules.json": modules(Transformer="", Dense="1_Dense"),
        "1_Dense/config.json": {"in_features": 8, "out_features": 4},
    }
    facts = told(tmp_path, files)
    assert facts["projections"].value == ("1_Dense",)
    usual: dict[str, Any] = {
        "dimensions": 4,
        "query_tokens": 32,
        "document_tokens": 300,
        "expand": True,
        "query_marker": "[Q] ",
        "document_marker": "[D] ",
        "skip": ("!", "."),
    }
    assert facts["multivector"].value == MultivectorRecipe(**usual | differs)


def test_a_multi_vector_encoder_has_prompts_for_markers(tmp_path: Path) -> None:
    files = {
        SETTINGS: {"model_type": "MultiVectorEncoder", "prompts": {"query": "[Q] "}},
        "modules.json": modules(
            Transformer="", Dense="1_Dense", Normalize="2_Normalize", MultiVectorMask="3_Mask"
        ),
        "1_Dense/config.json": {"out_features": 4},
        "3_Mask/config.json": {"skiplist_words": ["."], "skiplist_tasks": ["document"]},
        "sentence_bert_config.json": {
            "query_expansion": {"strategy": "fixed", "attend": True, "length": 48},
            "document_length": 256,
        },
    }
    facts = told(tmp_path, files)
    assert facts["prompts"].value == {"query": "[Q] "}
    assert facts["multivector"].value == MultivectorRecipe(
        dimensions=4,
        query_tokens=48,
        document_tokens=256,
        expand=True,
        attend_expansion=True,
        skip=(".",),
    )


def test_stanfords_colbert_has_its_own_metadata(tmp_path: Path) -> None:
    metadata = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": 32,
        "doc_maxlen": 180,
        "dim": 128,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
    }
    config = {**BERT, "architectures": ["HF_ColBERT"]}
    facts = told(tmp_path, {"config.json": config, "artifact.metadata": metadata})
    assert facts["outputs"].value == ("multivector",)
    assert facts["multivector"].value == MultivectorRecipe(
        dimensions=128,
        query_tokens=32,
        document_tokens=180,
        expand=True,
        query_marker="[unused0]",
        document_marker="[unused1]",
        skip=PUNCTUATION,
        file="linear.weight",
    )


def test_the_heads_of_bge_m3_are_seen_beside_an_ordinary_model(tmp_path: Path) -> None:
    (tmp_path / "sparse_linear.pt").touch()
    (tmp_path / "colbert_linear.pt").touch()
    facts = told(tmp_path, {"modules.json": modules(Transformer="", Normalize="1_Normalize")})
    assert facts["outputs"].value == ("dense", "sparse", "multivector")
    assert facts["sparse"].value == SparseRecipe(
        kind="linear",
        activation="relu",
        skip=("<s>", "</s>", "<pad>", "<unk>"),
        file="sparse_linear.pt",
    )
    assert facts["multivector"].value == MultivectorRecipe(
        dimensions=8, skip_first=True, mean=True, file="colbert_linear.pt"
    )


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "sum": (
        {
            "modules.json": modules(MLMTransformer="", SpladePooling="1"),
            "1/config.json": {"pooling_strategy": "sum"},
        },
        r"1/config\.json pools sparse weights by sum; supported: max",
    ),
    "softmax": (
        {"config.json": CLASSIFIER, SETTINGS: {"activation_fn": "torch.nn.Softmax"}},
        r"activates scores by torch\.nn\.Softmax; supported: Sigmoid, Identity",
    ),
    "router without ways": (
        {"modules.json": modules(Router=""), SETTINGS: {"model_type": "SparseEncoder"}},
        r"router_config\.json routes .*; supported: queries by weights, documents by SPLADE",
    ),
    "router to code of its own": (
        {
            "modules.json": modules(Router=""),
            SETTINGS: {"model_type": "SparseEncoder"},
            "router_config.json": {
                **ROUTER,
                "types": {**ROUTER["types"], "document_1_SpladePooling": "acme.SpladePooling"},
            },
        },
        r"router_config\.json has the module acme\.SpladePooling in types, for document_1_Splade",
    ),
    "no metadata": (
        {"config.json": {**BERT, "architectures": ["HF_ColBERT"]}},
        r"no artifact\.metadata",
    ),
    "generation head": (
        {
            SETTINGS: {"model_type": "CrossEncoder"},
            "modules.json": modules(Transformer="", LogitScore="1_LogitScore"),
        },
        "has a LogitScore module; supported here: Transformer",
    ),
}


@pytest.mark.parametrize(("files", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_file_tells_and_nothing_here_computes_is_refused(
    tmp_path: Path, files: dict[str, Any], said: str
) -> None:
    with pytest.raises(StartFailed, match=said):
        told(tmp_path, files)
