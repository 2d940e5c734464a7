"""Vectors of texts, from folders whose tokenizer transformers makes anew: against sentence-transformers'."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from sentence_transformers import SentenceTransformer

import tokenizerkit
from kubeembed_api.document import parse
from kubeembed_runtime.model.encoder import load
from kubeembed_runtime.model.resolving import resolve
from kubeembed_runtime.model.tokenizer import Tokenizer
from kubeembed_runtime.requests import Item
from modelkit import SHAPE

TEXTS = [text for text in tokenizerkit.TEXTS if text.strip()]

SMALL: dict[str, Any] = {**SHAPE, "vocab_size": 900, "max_position_embeddings": 300}
GROUPED = {**SMALL, "num_key_value_heads": 2}

#: Tokenizer -> the model, its pooling, the token that sentence-transformers pads with.
MODELS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "XLMRobertaTokenizer": (
        lambda: hf.XLMRobertaModel(hf.XLMRobertaConfig(**SMALL, pad_token_id=1)),
        "mean",
        "<pad>",
    ),
    "DebertaV2Tokenizer": (
        lambda: hf.DebertaV2Model(hf.DebertaV2Config(**SMALL)),
        "cls",
        "[PAD]",
    ),
    "LlamaTokenizer": (lambda: hf.LlamaModel(hf.LlamaConfig(**GROUPED)), "lasttoken", "<unk>"),
    "Qwen2Tokenizer": (
        lambda: hf.Qwen3Model(hf.Qwen3Config(**GROUPED, head_dim=8)),
        "lasttoken",
        "<|endoftext|>",
    ),
}


def modules() -> list[dict[str, Any]]:
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"))
    package = "sentence_transformers.models"
    return [
        {"idx": place, "name": str(place), "path": path, "type": f"{package}.{kind}"}
        for place, (path, kind) in enumerate(kinds)
    ]


@pytest.mark.parametrize("name", MODELS)
def test_a_text_has_the_vector_of_sentence_transformers(
    name: str, document: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """add_eos_token is told and ignored, by both."""
    make, pooling, pad = MODELS[name]
    torch.manual_seed(0)
    make().eval().save_pretrained(tmp_path)
    config = {"config.json": json.loads((tmp_path / "config.json").read_text())}
    told = {"pad_token": pad, "add_eos_token": True, "model_max_length": 256}
    tokenizerkit.write(tmp_path, name, config, **told)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "modules.json").write_text(json.dumps(modules()))
    how = {"word_embedding_dimension": SHAPE["hidden_size"], "pooling_mode": pooling}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(how))
    theirs = SentenceTransformer(str(tmp_path), device="cpu").encode(TEXTS, batch_size=4)
    asked = document(tmp_path)
    asked["spec"]["recipe"] = {"dtype": "float32"}
    model = parse(asked)
    recipe = resolve(tmp_path, model)
    tokens = Tokenizer.of(tmp_path, recipe)(TEXTS)
    outputs = load(tmp_path, model, 1, recipe=recipe)([Item(ids=one.ids) for one in tokens])
    np.testing.assert_allclose(np.stack([out.dense for out in outputs]), theirs, atol=2e-6)
