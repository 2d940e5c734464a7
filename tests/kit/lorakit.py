"""Small models of every architecture that adapters are served on, and adapters of them as PEFT saves them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model

from kubeembed_runtime.requests import Output
from modelkit import SHAPE

Vectors = NDArray[np.float32]

SMALL: dict[str, Any] = {**SHAPE, "pad_token_id": 1}
GROUPED: dict[str, Any] = {**SMALL, "num_key_value_heads": 2, "head_dim": 8}
WINDOWED: dict[str, Any] = {
    **GROUPED,
    "sliding_window": 4,
    "query_pre_attn_scalar": 16,
    "layer_types": ["sliding_attention", "full_attention"],
}
LENGTHS = (1, 2, 5, 5, 9, 9, 30)

QUERY_VALUE = ["query", "value"]
EVERY_LAYER = ["query", "key", "value", "dense"]
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """An architecture, small, and the names of the layers that adapters change in it.

    auto: transformers' class that opens what `make` has saved. padded: is it served padded, not packed?
    """

    make: Callable[[], Any]
    some: Sequence[str]
    all: Sequence[str]
    auto: Any = hf.AutoModel
    padded: bool = False


def of_bert(make: Callable[[], Any], *more: str) -> Family:
    """One whose layers have BERT's names, and these."""
    return Family(make=make, some=QUERY_VALUE, all=[*EVERY_LAYER, *more])


def of_llama(make: Callable[[], Any], *, padded: bool = False) -> Family:
    """One whose layers have Llama's names."""
    every = [*PROJECTIONS, "gate_proj", "up_proj", "down_proj"]
    return Family(make=make, some=["q_proj", "v_proj"], all=every, padded=padded)


def of_t5(**config: Any) -> Family:
    """The encoder alone. `config` says which feed-forward layers it has."""
    shape: dict[str, Any] = {
        "vocab_size": 100,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
    }
    inner = ["wi_0", "wi_1"] if config else ["wi"]
    return Family(
        make=lambda: hf.T5EncoderModel(hf.T5Config(**shape, num_heads=4, **config)),
        some=["q", "v"],
        all=["q", "k", "v", "o", *inner, "wo"],
        auto=hf.AutoModelForTextEncoding,
        padded=True,
    )


FAMILIES = {
    "bert": of_bert(lambda: hf.BertModel(hf.BertConfig(**SMALL))),
    "roberta": of_bert(lambda: hf.RobertaModel(hf.RobertaConfig(**SMALL))),
    "xlm-roberta": of_bert(lambda: hf.XLMRobertaModel(hf.XLMRobertaConfig(**SMALL))),
    "camembert": of_bert(lambda: hf.CamembertModel(hf.CamembertConfig(**SMALL))),
    "electra": of_bert(
        lambda: hf.ElectraModel(hf.ElectraConfig(**SMALL, embedding_size=16)), "embeddings_project"
    ),
    "distilbert": Family(
        make=lambda: hf.DistilBertModel(
            hf.DistilBertConfig(
                vocab_size=100, dim=32, n_layers=2, n_heads=4, hidden_dim=48, pad_token_id=1
            )
        ),
        some=["q_lin", "v_lin"],
        all=["q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"],
    ),
    # Its layers are one and the same, so its adapter changes that one, each time it runs.
    "albert": of_bert(
        lambda: hf.AlbertModel(hf.AlbertConfig(**SMALL, embedding_size=16)),
        *("ffn", "ffn_output", "embedding_hidden_mapping_in"),
    ),
    "nomic_bert": of_llama(lambda: hf.NomicBertModel(hf.NomicBertConfig(**SMALL))),
    "gte": of_llama(lambda: hf.GteModel(hf.GteConfig(**SMALL))),
    "jina_embeddings_v3": Family(
        make=lambda: hf.JinaEmbeddingsV3Model(hf.JinaEmbeddingsV3Config(**SMALL)),
        some=["q_proj", "v_proj"],
        all=[*PROJECTIONS, "fc1", "fc2"],
    ),
    "modernbert": Family(
        make=lambda: hf.ModernBertModel(
            hf.ModernBertConfig(**SMALL, cls_token_id=2, sep_token_id=3, local_attention=8)
        ),
        some=["Wqkv"],
        all=["Wqkv", "Wo", "Wi"],
    ),
    "eurobert": of_llama(lambda: hf.EuroBertModel(hf.EuroBertConfig(**GROUPED))),
    "gemma2": of_llama(lambda: hf.Gemma2Model(hf.Gemma2Config(**WINDOWED)), padded=True),
    "gemma3": of_llama(lambda: hf.Gemma3TextModel(hf.Gemma3TextConfig(**WINDOWED))),
    "gemma3 both ways": of_llama(
        lambda: hf.Gemma3TextModel(
            hf.Gemma3TextConfig(**WINDOWED, use_bidirectional_attention=True)
        )
    ),
    "qwen2": of_llama(lambda: hf.Qwen2Model(hf.Qwen2Config(**GROUPED))),
    "qwen3": of_llama(lambda: hf.Qwen3Model(hf.Qwen3Config(**GROUPED))),
    "mistral": of_llama(
        lambda: hf.MistralModel(hf.MistralConfig(**GROUPED, sliding_window=4)),
    ),
    "llama": of_llama(lambda: hf.LlamaModel(hf.LlamaConfig(**GROUPED))),
    "mpnet": Family(
        make=lambda: hf.MPNetModel(hf.MPNetConfig(**SMALL)),
        some=["q", "v"],
        all=["q", "k", "v", "o", "dense"],
        padded=True,
    ),
    "deberta-v2": Family(
        make=lambda: hf.DebertaV2Model(
            hf.DebertaV2Config(
                **SMALL,
                relative_attention=True,
                pos_att_type=["p2c", "c2p"],
                share_att_key=True,
                position_buckets=8,
            )
        ),
        some=["query_proj", "value_proj"],
        all=["query_proj", "key_proj", "value_proj", "dense"],
        padded=True,
    ),
    "deberta-v2 with layers for positions": Family(
        make=lambda: hf.DebertaV2Model(
            hf.DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"])
        ),
        some=["query_proj", "value_proj"],
        all=["query_proj", "key_proj", "value_proj", "pos_key_proj", "pos_query_proj", "dense"],
        padded=True,
    ),
    "t5": of_t5(),
    "t5, gated": of_t5(feed_forward_proj="gated-gelu"),
}


def strong(model: Any, seed: int, scale: float = 0.3) -> Any:
    """With weights that make a difference: the usual initial ones are tiny, and B is zero."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if seed == 0 or "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * scale)
    return model.eval()


def tuned(
    base: Path, folder: Path, seed: int = 1, *, auto: Any = hf.AutoModel, **config: Any
) -> Path:
    """An adapter, as PEFT saves it, of the model that `auto` opens. seed: above 0."""
    wanted = {"r": 4, "lora_alpha": 8, **config}
    model = get_peft_model(auto.from_pretrained(base), LoraConfig(**wanted))
    strong(model, seed).save_pretrained(folder)
    return folder


def merged(base: Path, adapter: Path, auto: Any = hf.AutoModel) -> Any:
    """The model that PEFT makes of both."""
    model = PeftModel.from_pretrained(auto.from_pretrained(base), adapter)
    return model.merge_and_unload().eval()


def given(seed: int = 5, lengths: Sequence[int] = LENGTHS) -> list[list[int]]:
    """The ids of texts of these lengths."""
    choose = random.Random(seed)
    return [[choose.randrange(5, 100) for _ in range(length)] for length in lengths]


def flat(output: Output) -> Vectors:
    """All numbers of an output of a model with 100 tokens, in the order of its kinds."""
    parts = [one for one in (output.dense, output.multivector, output.score) if one is not None]
    if output.sparse is not None:
        whole = np.zeros(SHAPE["vocab_size"], np.float32)
        whole[output.sparse.indices] = output.sparse.values
        parts.append(whole)
    return np.concatenate([part.ravel() for part in parts])


def bge_m3(folder: Path) -> Path:
    """XLM-RoBERTa with the two heads that FlagEmbedding puts beside it: three kinds of output."""
    strong(hf.XLMRobertaModel(hf.XLMRobertaConfig(**SMALL)), 0).save_pretrained(folder)
    for name, width in (("sparse_linear.pt", 1), ("colbert_linear.pt", SMALL["hidden_size"])):
        torch.save(
            strong(torch.nn.Linear(SMALL["hidden_size"], width), 0).state_dict(), folder / name
        )
    return folder
