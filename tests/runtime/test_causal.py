"""The recipe's `causal` is what is computed, or the model is not served."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from transformers.models.auto import modeling_auto

from kubeembed_api.document import parse
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model import generic
from kubeembed_runtime.model.encoder import Encoder, load
from kubeembed_runtime.model.limits import DECODERS
from kubeembed_runtime.model.packing import batch
from kubeembed_runtime.model.padded import Padded
from kubeembed_runtime.model.recipes import Told
from kubeembed_runtime.requests import Item
from modelkit import SHAPE, saved

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")

#: The last token differs.
PAIR = [Item(ids=[30, 40, 50]), Item(ids=[30, 40, 60])]

SMALL: dict[str, Any] = {
    **SHAPE,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
GROUPED: dict[str, Any] = {**SMALL, "num_key_value_heads": 2}

MAKERS: dict[str, Callable[[], Any]] = {
    "starcoder2": lambda: hf.Starcoder2Model(hf.Starcoder2Config(**GROUPED)),
    "olmo3": lambda: hf.Olmo3Model(hf.Olmo3Config(**GROUPED)),
    "nemotron": lambda: hf.NemotronModel(hf.NemotronConfig(**GROUPED, head_dim=8)),
    "gptj": lambda: hf.GPTJModel(
        hf.GPTJConfig(vocab_size=100, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4)
    ),
    "qwen2, both ways by its file": lambda: hf.Qwen2Model(
        hf.Qwen2Config(**GROUPED, is_causal=False)
    ),
    "qwen3_moe": lambda: hf.Qwen3MoeModel(
        hf.Qwen3MoeConfig(**GROUPED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
    ),
    "bloom": lambda: hf.BloomModel(
        hf.BloomConfig(vocab_size=100, hidden_size=32, n_layer=2, n_head=4)
    ),
    "bert": lambda: hf.BertModel(hf.BertConfig(**SMALL)),
    "xlm-roberta": lambda: hf.XLMRobertaModel(hf.XLMRobertaConfig(**SMALL)),
    "distilbert": lambda: hf.DistilBertModel(
        hf.DistilBertConfig(vocab_size=100, dim=32, n_layers=2, n_heads=4, hidden_dim=48)
    ),
    "mpnet": lambda: hf.MPNetModel(hf.MPNetConfig(**SMALL)),
}
DECODING = ("starcoder2", "olmo3", "nemotron", "gptj", "qwen3_moe")


@pytest.fixture
def served(tmp_path: Path, document: Callable[..., dict[str, Any]]) -> Callable[..., Encoder]:
    def serve(made: str, **recipe: Any) -> Encoder:
        usual = {"pooling": "cls", "normalize": True, "maxTokens": 60, "dtype": "float32"}
        folder = saved(MAKERS[made](), tmp_path)
        return load(folder, parse(document(folder, **usual, **recipe)), 1)

    return serve


@torch.inference_mode()
def sees_later_ones(encoder: Encoder) -> bool:
    one, _, _, other, *_ = encoder.body(batch(PAIR, CPU))
    return not torch.allclose(one, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both ways"])
@pytest.mark.parametrize("made", [*DECODING, "qwen2, both ways by its file"])
def test_a_decoder_does_as_the_document_says(
    made: str, causal: bool, served: Callable[..., Encoder]
) -> None:
    encoder = served(made, causal=causal)
    assert encoder.recipe.causal == Told(value=causal, origin="spec.recipe.causal")
    assert sees_later_ones(encoder) is not causal


@pytest.mark.parametrize("made", [*DECODING, "bloom", "bert", "distilbert", "mpnet"])
def test_where_the_document_says_nothing_the_recipe_has_what_is_computed(
    made: str, served: Callable[..., Encoder]
) -> None:
    encoder = served(made)
    assert encoder.recipe.causal.origin == f"config.json, model_type {made}"
    assert encoder.recipe.causal.value is (made in DECODING or made == "bloom")
    assert sees_later_ones(encoder) is not encoder.recipe.causal.value


@pytest.mark.parametrize("made", ["bert", "xlm-roberta", "distilbert", "mpnet"])
def test_an_encoder_cannot_be_told_to_be_causal(made: str, served: Callable[..., Encoder]) -> None:
    said = r"causal is true \(spec\.recipe\.causal\), but .* set spec\.recipe\.causal to false"
    with pytest.raises(StartFailed, match=said) as refused:
        served(made, causal=True)
    assert refused.value.reason is Reason.INVALID_RECIPE


def test_a_decoder_whose_mask_cannot_be_lifted_is_not_served_as_one_that_sees_both_ways(
    served: Callable[..., Encoder],
) -> None:
    said = r"but tokens do not see later ones; set spec\.recipe\.causal to true"
    with pytest.raises(StartFailed, match=said) as refused:
        served("bloom", causal=False)
    assert refused.value.reason is Reason.INVALID_RECIPE


def test_a_decoder_that_nobody_knows_must_be_told(
    served: Callable[..., Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer transformers has more of them; neither answer may be taken for its author's."""
    monkeypatch.setattr("kubeembed_runtime.model.limits.DECODERS", ())
    with pytest.raises(StartFailed, match=r"set spec\.recipe\.causal \(true or false\) as"):
        served("starcoder2")
    assert sees_later_ones(served("starcoder2", causal=False))
    assert not sees_later_ones(served("starcoder2", causal=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("made", MAKERS)
def test_no_precision_hides_what_a_token_sees(
    made: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    body = generic.load(
        saved(MAKERS[made](), tmp_path),
        dtype=dtype,
        device=CPU,
        causal=None,
        max_tokens=60,
        trust_remote_code=False,
    )
    causal = made in DECODING or made == "bloom"
    assert generic.is_causal(body) is causal
    pad = body.model.config.pad_token_id or 0
    body.model.set_attn_implementation("eager")
    assert generic.is_causal(Padded(body.model, pad=pad, kinds=False)) is causal


def test_the_known_decoders_are_those_of_transformers() -> None:
    """And none of a type whose models are encoders as well."""
    encoding = set(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    lacking = set(DECODERS) - set(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert (lacking, encoding.intersection(DECODERS)) == (set(), set())
