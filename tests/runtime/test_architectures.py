"""Every architecture of the generic body, on small random weights, against transformers one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kubeembed_runtime.model import generic
from kubeembed_runtime.model.generic import Packed
from kubeembed_runtime.model.packing import batch
from kubeembed_runtime.model.padded import Padded
from kubeembed_runtime.requests import Item
from modelkit import SHAPE, saved

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")

SMALL: dict[str, Any] = {
    **SHAPE,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
GROUPED: dict[str, Any] = {**SMALL, "num_key_value_heads": 2, "head_dim": 8}
ONE_WINDOW = {"layer_types": ["sliding_attention", "full_attention"]}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model that transformers has, and how it is to be served."""

    make: Any
    how: type = Packed
    causal: bool = False
    kinds: bool = False
    kept: Any = field(default=lambda model: model)  # the encoder within the model that is saved


CASES = {
    "bert": Case(make=lambda: hf.BertModel(hf.BertConfig(**SMALL)), kinds=True),
    "roberta": Case(make=lambda: hf.RobertaModel(hf.RobertaConfig(**SMALL))),
    "xlm-roberta": Case(make=lambda: hf.XLMRobertaModel(hf.XLMRobertaConfig(**SMALL))),
    "xlm-roberta under a head": Case(
        make=lambda: hf.XLMRobertaForSequenceClassification(hf.XLMRobertaConfig(**SMALL)),
        kept=lambda model: model.roberta,
    ),
    "camembert": Case(make=lambda: hf.CamembertModel(hf.CamembertConfig(**SMALL))),
    "electra": Case(
        make=lambda: hf.ElectraModel(hf.ElectraConfig(**SMALL, embedding_size=16)), kinds=True
    ),
    "distilbert": Case(
        make=lambda: hf.DistilBertModel(
            hf.DistilBertConfig(
                vocab_size=100, dim=32, n_layers=2, n_heads=4, hidden_dim=48, pad_token_id=1
            )
        )
    ),
    "albert": Case(
        make=lambda: hf.AlbertModel(hf.AlbertConfig(**SMALL, embedding_size=16)), kinds=True
    ),
    "nomic_bert": Case(make=lambda: hf.NomicBertModel(hf.NomicBertConfig(**SMALL)), kinds=True),
    "eurobert": Case(make=lambda: hf.EuroBertModel(hf.EuroBertConfig(**GROUPED))),
    "jina_embeddings_v3": Case(
        make=lambda: hf.JinaEmbeddingsV3Model(hf.JinaEmbeddingsV3Config(**SMALL))
    ),
    "gte": Case(make=lambda: hf.GteModel(hf.GteConfig(**SMALL))),
    "modernbert": Case(
        make=lambda: hf.ModernBertModel(
            hf.ModernBertConfig(**SMALL, local_attention=8, **ONE_WINDOW, cls_token_id=2)
        )
    ),
    "gemma3": Case(
        make=lambda: hf.Gemma3TextModel(
            hf.Gemma3TextConfig(**GROUPED, sliding_window=4, query_pre_attn_scalar=16, **ONE_WINDOW)
        ),
        causal=True,
    ),
    "gemma3 both ways": Case(
        make=lambda: hf.Gemma3TextModel(
            hf.Gemma3TextConfig(
                **GROUPED, sliding_window=8, use_bidirectional_attention=True, **ONE_WINDOW
            )
        )
    ),
    "gemma2, which caps its scores": Case(
        make=lambda: hf.Gemma2Model(
            hf.Gemma2Config(**GROUPED, sliding_window=4, query_pre_attn_scalar=16, **ONE_WINDOW)
        ),
        how=Padded,
        causal=True,
    ),
    "qwen2": Case(make=lambda: hf.Qwen2Model(hf.Qwen2Config(**GROUPED)), causal=True),
    "qwen2 both ways": Case(make=lambda: hf.Qwen2Model(hf.Qwen2Config(**GROUPED, is_causal=False))),
    "qwen3": Case(make=lambda: hf.Qwen3Model(hf.Qwen3Config(**GROUPED)), causal=True),
    "mistral": Case(
        make=lambda: hf.MistralModel(hf.MistralConfig(**GROUPED, sliding_window=4)), causal=True
    ),
    "llama": Case(make=lambda: hf.LlamaModel(hf.LlamaConfig(**GROUPED)), causal=True),
    "mpnet": Case(make=lambda: hf.MPNetModel(hf.MPNetConfig(**SMALL)), how=Padded),
    "deberta-v2": Case(
        make=lambda: hf.DebertaV2Model(
            hf.DebertaV2Config(
                **SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"], type_vocab_size=0
            )
        ),
        how=Padded,
    ),
    "t5": Case(
        make=lambda: hf.T5EncoderModel(
            hf.T5Config(vocab_size=100, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
        ),
        how=Padded,
    ),
}


@dataclass(frozen=True)
class Model:
    """The reference, and ours of the same weights."""

    theirs: Any
    body: Packed | Padded
    case: Case


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    case: Case = request.param
    made = case.make()
    folder = saved(made, tmp_path_factory.mktemp("model"))
    theirs = case.kept(made)
    if theirs._can_set_attn_implementation():
        theirs.set_attn_implementation("eager")
    body = generic.load(
        folder,
        dtype=torch.float32,
        device=CPU,
        causal=case.causal,
        max_tokens=60,
        trust_remote_code=False,
    )
    return Model(theirs, body, case)


def items(lengths: Sequence[int], *, kinds: bool) -> list[Item]:
    """Odd lengths have the padding's token in the middle of the text, as one may that names it."""
    torch.manual_seed(1)
    texts = [torch.randint(5, 100, (n,)).tolist() for n in lengths]
    for ids in texts:
        if len(ids) % 2:
            ids[len(ids) // 2] = SMALL["pad_token_id"]
    return [
        Item(ids=ids, second=len(ids) // 2 if kinds and len(ids) > 4 else None) for ids in texts
    ]


@torch.inference_mode()
def together(body: Packed | Padded, given: Sequence[Item]) -> tuple[torch.Tensor, ...]:
    return body(batch(given, CPU, body.padding)).split_with_sizes([item.tokens for item in given])


@torch.inference_mode()
def alone(theirs: Any, item: Item) -> torch.Tensor:
    given = {"input_ids": torch.tensor([item.ids])}
    if item.second is not None:
        second = torch.arange(item.tokens) >= item.second
        given["token_type_ids"] = second.long()[None]
    hidden: torch.Tensor = theirs(**given)[0][0]
    return hidden


@settings(
    max_examples=5,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@example(lengths=[1, 2, 2, 5, 9, 9, 9, 30])
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_a_batch_equals_transformers_one_by_one(model: Model, lengths: list[int]) -> None:
    """Whatever it is made of, and in whatever order it lies."""
    assert type(model.body) is model.case.how
    given = items(lengths, kinds=model.case.kinds)
    for ours, item in zip(together(model.body, given), given, strict=True):
        torch.testing.assert_close(ours, alone(model.theirs, item), atol=2e-5, rtol=0)
