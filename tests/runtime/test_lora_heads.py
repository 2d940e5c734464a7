"""Adapters under every kind of head: what is served is what the head makes of PEFT's merged model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import normalize

from headkit import colbert, lexical, splade
from kubeembed_api.document import parse
from kubeembed_runtime.errors import AdapterRefused
from kubeembed_runtime.model.adaptable import adapters_of
from kubeembed_runtime.model.adapters import LoraAdapters
from kubeembed_runtime.model.encoder import Encoder, load
from kubeembed_runtime.requests import Item, Kind
from lorakit import (
    EVERY_LAYER,
    GROUPED,
    QUERY_VALUE,
    SMALL,
    bge_m3,
    flat,
    given,
    merged,
    strong,
    tuned,
)
from runtimekit import document

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.usefixtures("one_thread"),
]

MASKED = hf.AutoModelForMaskedLM
SCORING = hf.AutoModelForSequenceClassification

#: Ids of the special tokens, which BGE-M3 gives no weights.
SPECIAL = (0, 1, 2, 3, 50)

#: (a model of transformers, an item) -> the numbers that are to be served.
Reference = Callable[[Any, Item], Tensor]


@dataclass(frozen=True, kw_only=True)
class Base:
    """A model in a folder, as we serve it."""

    folder: Path
    encoder: Encoder
    adapters: LoraAdapters


def based(folder: Path, **recipe: Any) -> Base:
    encoder = load(folder, parse(document(folder, **recipe)), 1, lookup=lambda names: SPECIAL)
    adapters = adapters_of(encoder, model="small", fingerprint="f00d")
    return Base(folder=folder, encoder=encoder, adapters=adapters)


def items(*outputs: Kind, pairs: bool = False) -> list[Item]:
    """pairs: with a second text, for a model that tells the two apart."""
    return [
        Item(ids=ids, outputs=outputs, second=len(ids) // 2 if pairs and len(ids) > 4 else None)
        for ids in given()
    ]


@torch.inference_mode()
def assert_served_as_merged(
    base: Base, adapter: Path, asked: Sequence[Item], adapted: Any, plain: Any, wanted: Reference
) -> None:
    """Each item with the adapter and without, side by side in one batch. adapted, plain: the references."""
    loaded = base.adapters.put("legal", adapter).result()
    mixed = [replace(item, adapter=one) for item in asked for one in (loaded, None)]
    found = [flat(output) for output in base.encoder(mixed)]
    for item, ours, base_s in zip(asked, found[::2], found[1::2], strict=True):
        np.testing.assert_allclose(ours, wanted(adapted, item), atol=1e-4)
        np.testing.assert_allclose(base_s, wanted(plain, item), atol=1e-4)
        assert np.abs(ours - base_s).max() > 1e-3  # a score is one number, which may change little


def inputs(item: Item) -> dict[str, Tensor]:
    read = {"input_ids": torch.tensor([list(item.ids)])}
    if item.second is not None:
        read["token_type_ids"] = (torch.arange(item.tokens) >= item.second).long()[None]
    return read


def sparse(model: Any, item: Item) -> Tensor:
    return splade(model(**inputs(item)).logits[0])


def score(model: Any, item: Item) -> Tensor:
    logits: Tensor = model(**inputs(item)).logits[0]
    return logits.sigmoid() if len(logits) == 1 else logits


MASKED_MODELS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "bert": (lambda: hf.BertForMaskedLM(hf.BertConfig(**SMALL)), QUERY_VALUE),
    "xlm-roberta": (lambda: hf.XLMRobertaForMaskedLM(hf.XLMRobertaConfig(**SMALL)), QUERY_VALUE),
    "electra": (
        lambda: hf.ElectraForMaskedLM(hf.ElectraConfig(**SMALL, embedding_size=16)),
        ["query", "value", "embeddings_project"],
    ),
    "modernbert": (
        lambda: hf.ModernBertForMaskedLM(hf.ModernBertConfig(**SMALL, local_attention=8)),
        ["Wqkv", "Wo", "Wi"],
    ),
    "mpnet": (lambda: hf.MPNetForMaskedLM(hf.MPNetConfig(**SMALL)), ["q", "k", "v", "o"]),
}


@pytest.mark.parametrize(("make", "targets"), MASKED_MODELS.values(), ids=MASKED_MODELS)
def test_splade_weights_are_of_the_merged_model(
    make: Callable[[], Any], targets: list[str], tmp_path: Path
) -> None:
    strong(make(), 0).save_pretrained(tmp_path / "base")
    base = based(tmp_path / "base", outputs=["sparse"])
    adapter = tuned(base.folder, tmp_path / "adapter", auto=MASKED, target_modules=targets)
    adapted = merged(base.folder, adapter, MASKED)
    plain = MASKED.from_pretrained(base.folder)
    assert_served_as_merged(base, adapter, items("sparse"), adapted, plain, sparse)


SCORING_MODELS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "bert": (
        lambda: hf.BertForSequenceClassification(hf.BertConfig(**SMALL, num_labels=1)),
        QUERY_VALUE,
    ),
    "bert of three labels": (
        lambda: hf.BertForSequenceClassification(hf.BertConfig(**SMALL, num_labels=3)),
        QUERY_VALUE,
    ),
    "xlm-roberta": (
        lambda: hf.XLMRobertaForSequenceClassification(hf.XLMRobertaConfig(**SMALL, num_labels=1)),
        QUERY_VALUE,
    ),
    "modernbert": (
        lambda: hf.ModernBertForSequenceClassification(
            hf.ModernBertConfig(**SMALL, local_attention=8, num_labels=1)
        ),
        ["Wqkv", "Wo", "Wi"],
    ),
    "deberta-v2": (
        lambda: hf.DebertaV2ForSequenceClassification(
            hf.DebertaV2Config(
                **SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"], num_labels=1
            )
        ),
        ["query_proj", "value_proj"],
    ),
    "qwen3": (
        lambda: hf.Qwen3ForSequenceClassification(hf.Qwen3Config(**GROUPED, num_labels=1)),
        ["q_proj", "v_proj", "down_proj"],
    ),
}


@pytest.mark.parametrize("name", SCORING_MODELS)
def test_scores_are_of_the_merged_model(name: str, tmp_path: Path) -> None:
    make, targets = SCORING_MODELS[name]
    strong(make(), 0).save_pretrained(tmp_path / "base")
    base = based(tmp_path / "base")
    assert tuple(base.encoder.recipe.outputs.value) == ("score",)
    adapter = tuned(base.folder, tmp_path / "adapter", auto=SCORING, target_modules=targets)
    adapted = merged(base.folder, adapter, SCORING)
    plain = SCORING.from_pretrained(base.folder)
    asked = items("score", pairs="bert" in name.split())
    assert_served_as_merged(base, adapter, asked, adapted, plain, score)


def with_heads(folder: Path) -> Reference:
    """FlagEmbedding's formulas for the three outputs of BGE-M3 on the heads of the folder."""
    linear, late = (torch.load(folder / f"{name}_linear.pt") for name in ("sparse", "colbert"))

    def wanted(model: Any, item: Item) -> Tensor:
        hidden = model(**inputs(item)).last_hidden_state[0]
        weights = (hidden @ linear["weight"].T + linear["bias"]).relu()[:, 0]
        whole = torch.zeros(SMALL["vocab_size"])
        for token, weight in lexical(item.ids, weights.tolist(), SPECIAL).items():
            whole[token] = weight
        vectors = colbert(hidden[1:], late["weight"], late["bias"])
        return torch.cat([normalize(hidden[0], dim=-1), vectors.ravel(), whole])

    return wanted


@pytest.mark.parametrize("targets", [QUERY_VALUE, EVERY_LAYER], ids=["some", "all"])
def test_all_outputs_of_bge_m3_are_of_the_merged_model(targets: list[str], tmp_path: Path) -> None:
    base = based(bge_m3(tmp_path / "base"), pooling="cls", normalize=True)
    asked = items("dense", "sparse", "multivector")
    asked[-1] = replace(asked[-1], ids=[*asked[-1].ids, *SPECIAL, *asked[-1].ids[:5]])
    adapter = tuned(base.folder, tmp_path / "adapter", target_modules=targets)
    adapted = merged(base.folder, adapter)
    plain = hf.AutoModel.from_pretrained(base.folder)
    assert_served_as_merged(base, adapter, asked, adapted, plain, with_heads(base.folder))


def test_an_adapter_that_was_trained_without_the_head_serves_under_it(tmp_path: Path) -> None:
    """As task_type FEATURE_EXTRACTION saves it, of the body alone."""
    strong(hf.BertForMaskedLM(hf.BertConfig(**SMALL)), 0).save_pretrained(tmp_path / "base")
    base = based(tmp_path / "base", outputs=["sparse"])
    adapter = tuned(
        base.folder,
        tmp_path / "adapter",
        task_type="FEATURE_EXTRACTION",
        target_modules=QUERY_VALUE,
    )
    adapted, plain = (MASKED.from_pretrained(base.folder) for _ in range(2))
    adapted.bert = PeftModel.from_pretrained(adapted.bert, adapter).merge_and_unload()
    assert_served_as_merged(base, adapter, items("sparse"), adapted, plain, sparse)


REFUSED: dict[str, tuple[Callable[[], Any], Any, dict[str, Any], str]] = {
    "PEFT's own copy of the head": (
        lambda: hf.BertForSequenceClassification(hf.BertConfig(**SMALL)),
        SCORING,
        {"task_type": "SEQ_CLS", "target_modules": QUERY_VALUE},
        r'modules_to_save \["classifier", "score"\]; supported: none; train with task_type FEAT',
    ),
    "the pooler that scores are read from": (
        lambda: hf.BertForSequenceClassification(hf.BertConfig(**SMALL)),
        SCORING,
        {"target_modules": EVERY_LAYER},
        r"changes bert\.pooler\.dense, which is no layer of the base: attention\.output\.dense",
    ),
    "a hidden layer of the scores": (
        lambda: hf.RobertaForSequenceClassification(hf.RobertaConfig(**SMALL)),
        SCORING,
        {"target_modules": EVERY_LAYER},
        r"changes classifier\.dense, which is no layer of the base: attention\.output\.dense",
    ),
    "a hidden layer of sparse weights": (
        lambda: hf.BertForMaskedLM(hf.BertConfig(**SMALL)),
        MASKED,
        {"target_modules": EVERY_LAYER},
        r"changes cls\.predictions\.transform\.dense, which is no layer of the base: ",
    ),
}


@pytest.mark.parametrize(("make", "auto", "config", "said"), REFUSED.values(), ids=REFUSED)
def test_an_adapter_that_changes_the_head_is_refused(
    make: Callable[[], Any], auto: Any, config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    strong(make(), 0).save_pretrained(tmp_path / "base")
    base = based(tmp_path / "base", **({"outputs": ["sparse"]} if auto is MASKED else {}))
    adapter = tuned(base.folder, tmp_path / "adapter", auto=auto, **config)
    with pytest.raises(AdapterRefused, match=said):
        base.adapters.put("legal", adapter).result()
