"""The heads of every family against transformers' own: a small random model, saved and read again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from headkit import splade
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.heads.mlm import mlm
from kubeembed_runtime.model.heads.score import Score, classifier
from kubeembed_runtime.model.heads.sparse import Mlm, Share
from kubeembed_runtime.model.packing import batch
from kubeembed_runtime.requests import Item, Kind
from modelkit import weighty

CPU = torch.device("cpu")
PAD = 1
SMALL: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": PAD,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
GROUPED: dict[str, Any] = {**SMALL, "num_key_value_heads": 2, "head_dim": 8}
DISTILBERT: dict[str, Any] = {
    "vocab_size": 100,
    "dim": 32,
    "n_layers": 1,
    "n_heads": 4,
    "hidden_dim": 48,
    "pad_token_id": PAD,
}

CLASSIFIERS: dict[str, Any] = {
    "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**SMALL, num_labels=1)),
    "bert of three labels": lambda: hf.BertForSequenceClassification(
        hf.BertConfig(**SMALL, num_labels=3)
    ),
    "roberta": lambda: hf.RobertaForSequenceClassification(hf.RobertaConfig(**SMALL)),
    "xlm-roberta": lambda: hf.XLMRobertaForSequenceClassification(
        hf.XLMRobertaConfig(**SMALL, num_labels=1)
    ),
    "camembert": lambda: hf.CamembertForSequenceClassification(hf.CamembertConfig(**SMALL)),
    "roberta-prelayernorm": lambda: hf.RobertaPreLayerNormForSequenceClassification(
        hf.RobertaPreLayerNormConfig(**SMALL)
    ),
    "xlm-roberta-xl": lambda: hf.XLMRobertaXLForSequenceClassification(
        hf.XLMRobertaXLConfig(**SMALL)
    ),
    "xmod": lambda: hf.XmodForSequenceClassification(
        hf.XmodConfig(**SMALL, default_language="en_XX")
    ),
    "data2vec-text": lambda: hf.Data2VecTextForSequenceClassification(
        hf.Data2VecTextConfig(**SMALL)
    ),
    "esm": lambda: hf.EsmForSequenceClassification(hf.EsmConfig(**SMALL, mask_token_id=4)),
    "ibert": lambda: hf.IBertForSequenceClassification(hf.IBertConfig(**SMALL)),
    "lilt": lambda: hf.LiltForSequenceClassification(hf.LiltConfig(**{**SMALL, "hidden_size": 48})),
    "electra": lambda: hf.ElectraForSequenceClassification(hf.ElectraConfig(**SMALL)),
    "convbert": lambda: hf.ConvBertForSequenceClassification(
        hf.ConvBertConfig(**SMALL, embedding_size=32)
    ),
    "convbert by another activation": lambda: hf.ConvBertForSequenceClassification(
        hf.ConvBertConfig(**SMALL, embedding_size=32, hidden_act="relu")
    ),
    "big_bird": lambda: hf.BigBirdForSequenceClassification(
        hf.BigBirdConfig(**SMALL, attention_type="original_full")
    ),
    "roformer": lambda: hf.RoFormerForSequenceClassification(hf.RoFormerConfig(**SMALL)),
    "nystromformer": lambda: hf.NystromformerForSequenceClassification(
        hf.NystromformerConfig(**SMALL)
    ),
    "mra": lambda: hf.MraForSequenceClassification(hf.MraConfig(**SMALL)),
    "yoso": lambda: hf.YosoForSequenceClassification(hf.YosoConfig(**SMALL)),
    "albert": lambda: hf.AlbertForSequenceClassification(hf.AlbertConfig(**SMALL)),
    "mpnet": lambda: hf.MPNetForSequenceClassification(hf.MPNetConfig(**SMALL)),
    "distilbert": lambda: hf.DistilBertForSequenceClassification(hf.DistilBertConfig(**DISTILBERT)),
    "deberta-v2": lambda: hf.DebertaV2ForSequenceClassification(hf.DebertaV2Config(**SMALL)),
    "modernbert": lambda: hf.ModernBertForSequenceClassification(
        hf.ModernBertConfig(**SMALL, cls_token_id=2)
    ),
    "modernbert by mean": lambda: hf.ModernBertForSequenceClassification(
        hf.ModernBertConfig(**SMALL, cls_token_id=2, classifier_pooling="mean", norm_bias=True)
    ),
    "eurobert": lambda: hf.EuroBertForSequenceClassification(
        hf.EuroBertConfig(**GROUPED, classifier_pooling="bos")
    ),
    "eurobert, late": lambda: hf.EuroBertForSequenceClassification(
        hf.EuroBertConfig(**GROUPED, classifier_pooling="late")
    ),
    "nomic_bert": lambda: hf.NomicBertForSequenceClassification(hf.NomicBertConfig(**SMALL)),
    "gte": lambda: hf.GteForSequenceClassification(hf.GteConfig(**SMALL)),
    "jina_embeddings_v3": lambda: hf.JinaEmbeddingsV3ForSequenceClassification(
        hf.JinaEmbeddingsV3Config(**SMALL)
    ),
    "qwen2": lambda: hf.Qwen2ForSequenceClassification(hf.Qwen2Config(**GROUPED, num_labels=1)),
    "qwen3": lambda: hf.Qwen3ForSequenceClassification(hf.Qwen3Config(**GROUPED, num_labels=1)),
}

MASKED: dict[str, Any] = {
    "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**SMALL, layer_norm_eps=1e-3)),
    "bert with the old gelu": lambda: hf.BertForMaskedLM(
        hf.BertConfig(**SMALL, hidden_act="gelu_new")
    ),
    "bert, not tied": lambda: hf.BertForMaskedLM(hf.BertConfig(**SMALL, tie_word_embeddings=False)),
    "roberta": lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**SMALL)),
    "xlm-roberta": lambda: hf.XLMRobertaForMaskedLM(hf.XLMRobertaConfig(**SMALL)),
    "camembert": lambda: hf.CamembertForMaskedLM(hf.CamembertConfig(**SMALL)),
    "distilbert": lambda: hf.DistilBertForMaskedLM(hf.DistilBertConfig(**DISTILBERT)),
    "modernbert": lambda: hf.ModernBertForMaskedLM(hf.ModernBertConfig(**SMALL, cls_token_id=2)),
    "electra": lambda: hf.ElectraForMaskedLM(hf.ElectraConfig(**SMALL, embedding_size=16)),
    "albert": lambda: hf.AlbertForMaskedLM(hf.AlbertConfig(**SMALL, embedding_size=16)),
    "mpnet": lambda: hf.MPNetForMaskedLM(hf.MPNetConfig(**SMALL)),
    "deberta-v2": lambda: hf.DebertaV2ForMaskedLM(hf.DebertaV2Config(**SMALL)),
    "nomic_bert": lambda: hf.NomicBertForMaskedLM(hf.NomicBertConfig(**SMALL)),
    "gte": lambda: hf.GteForMaskedLM(hf.GteConfig(**SMALL)),
}


def saved(model: Any, folder: Path) -> Any:
    """The model, written to `folder`."""
    weighty(model).save_pretrained(folder)
    return model


def items(kind: Kind) -> list[Item]:
    """The last one ends with the padding token, as texts do where that ends texts too."""
    torch.manual_seed(1)
    ids = [torch.randint(5, 100, (length,)).tolist() for length in (1, 4, 4, 9)]
    return [Item(ids=row, outputs=(kind,)) for row in [*ids, [7, 8, PAD]]]


def hidden(model: Any, given: list[Item]) -> torch.Tensor:
    """transformers' own hidden states, end to end."""
    rows = [model.base_model(**inputs(item)).last_hidden_state[0] for item in given]
    return torch.cat(rows)


def inputs(item: Item) -> dict[str, torch.Tensor]:
    ids = torch.tensor(item.ids)[None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS.keys())
@torch.inference_mode()
def test_scores_are_transformers_own(make: Any, tmp_path: Path) -> None:
    model = saved(make(), tmp_path)
    with Checkpoint(tmp_path, torch.float32, CPU) as weights:
        head = Score(classifier=classifier(weights, model.config.to_dict()), activation="identity")
    given, places = items("score"), [4, 0, 1, 3]
    ours = head(hidden(model, given), batch(given, CPU), given, places)
    for scores, place in zip(ours, places, strict=True):
        assert scores.dtype == np.float32
        wanted = model(**inputs(given[place])).logits[0]
        np.testing.assert_allclose(scores, wanted, atol=2e-5)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "longformer"}, "model_type 'longformer', whose classification head is"),
        ({}, "model_type 'None', whose classification head is unknown; supported: big_bird, "),
        (
            {"model_type": "convbert"},
            "has no hidden_act, which the head of a convbert takes; write",
        ),
    ],
    ids=["another computation", "no type", "no activation"],
)
def test_a_head_whose_activation_is_not_told_is_refused(
    config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """Its parameters have the names of RoBERTa's."""
    saved(CLASSIFIERS["roberta"](), tmp_path)
    weights = Checkpoint(tmp_path, torch.float32, CPU)
    with weights, pytest.raises(StartFailed, match=said) as refused:
        classifier(weights, config)
    assert refused.value.reason is Reason.UNSUPPORTED_MODEL


@pytest.mark.parametrize("make", MASKED.values(), ids=MASKED.keys())
@torch.inference_mode()
def test_sparse_weights_are_of_transformers_own_logits(make: Any, tmp_path: Path) -> None:
    model = saved(make(), tmp_path)
    words = model.get_input_embeddings().weight
    with Checkpoint(tmp_path, torch.float32, CPU) as weights:
        transform, decoder = mlm(weights, model.config.to_dict(), words)
    shared = decoder.weight.data_ptr() == words.data_ptr()
    assert shared == model.config.to_dict().get("tie_word_embeddings", True)
    head = Mlm(
        transform=transform, decoder=decoder, activation="log1p_relu", share=Share(3, 64, 300)
    )
    given = items("sparse")
    ours = head(hidden(model, given), batch(given, CPU), given, range(5))
    for sparse, item in zip(ours, given, strict=True):
        wanted = splade(model(**inputs(item)).logits[0])
        assert sparse.indices.tolist() == wanted.nonzero()[:, 0].tolist()
        np.testing.assert_allclose(sparse.values, wanted[sparse.indices], atol=2e-5)


def test_a_tied_decoder_is_found_in_the_checkpoint_too(tmp_path: Path) -> None:
    model = saved(MASKED["bert"](), tmp_path)
    with Checkpoint(tmp_path, torch.float32, CPU) as weights:
        _, decoder = mlm(weights, model.config.to_dict(), None)
    assert torch.equal(decoder.weight, model.get_input_embeddings().weight)


def test_a_model_without_the_head_is_refused(tmp_path: Path) -> None:
    model = saved(hf.RobertaModel(hf.RobertaConfig(**SMALL)), tmp_path)
    config = model.config.to_dict()
    with Checkpoint(tmp_path, torch.float32, CPU) as weights:
        with pytest.raises(StartFailed, match="no masked-language-model head") as sparse:
            mlm(weights, config, None)
        with pytest.raises(StartFailed, match=r"classifier\.weight") as score:
            classifier(weights, config)
    assert sparse.value.reason is score.value.reason is Reason.UNSUPPORTED_MODEL
