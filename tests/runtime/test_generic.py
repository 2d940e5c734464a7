"""What the generic body makes of models that cannot be packed, or that are not what they say."""

import json
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from kubeembed_api.document import parse
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import OutOfMemory, StartFailed
from kubeembed_runtime.model import devices, generic
from kubeembed_runtime.model.encoder import Encoder, load
from kubeembed_runtime.model.generic import Packed
from kubeembed_runtime.model.packing import Batch, Span, batch
from kubeembed_runtime.model.padded import Group, Padded, groups
from kubeembed_runtime.requests import Item
from modelkit import SHAPE, saved

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


def body(folder: Path, **wanted: Any) -> Packed | Padded:
    usual: dict[str, Any] = {
        "dtype": torch.float32,
        "device": CPU,
        "causal": None,
        "max_tokens": 64,
        "trust_remote_code": False,
    }
    return generic.load(folder, **{**usual, **wanted})


def qwen2(**config: Any) -> Any:
    return hf.Qwen2Model(hf.Qwen2Config(**{**SHAPE, "num_key_value_heads": 2, **config}))


@torch.inference_mode()
def hidden(body: Callable[[Batch], torch.Tensor], given: list[Item]) -> torch.Tensor:
    return body(batch(given, CPU))


GIVEN = [Item(ids=[7, 8, 9]), Item(ids=[10, 11, 12, 13])]

REFUSED: dict[str, tuple[dict[str, Any], str, Reason]] = {
    "unknown": (
        {"model_type": "newest"},
        "model_type 'newest', which transformers does not know",
        Reason.UNSUPPORTED_MODEL,
    ),
    "code of its own": (
        {"model_type": "newest", "auto_map": {"AutoModel": "modeling.Newest"}},
        "whose code comes with the model; set spec.model.trustRemoteCode",
        Reason.UNSUPPORTED_MODEL,
    ),
    "images": (
        {"model_type": "gemma3", "text_config": {}, "vision_config": {}},
        "'gemma3' reads more than text",
        Reason.UNSUPPORTED_MODEL,
    ),
    "a decoder beside the encoder": (
        {"model_type": "bart"},
        "'bart' has a decoder, and no encoder of its own",
        Reason.UNSUPPORTED_MODEL,
    ),
    "angles by the longest text": (
        {
            "model_type": "phi3",
            **SHAPE,
            "pad_token_id": 0,
            "original_max_position_embeddings": 32,
            "rope_scaling": {"type": "longrope", "short_factor": [1] * 4, "long_factor": [2] * 4},
        },
        "set spec.recipe.maxTokens to at most 32",
        Reason.INVALID_RECIPE,
    ),
    "no weights": ({"model_type": "qwen2"}, "cannot load", Reason.NO_USABLE_FILES),
}


@pytest.mark.parametrize(("config", "said", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_served_is_refused_before_its_weights_are_read(
    config: Mapping[str, Any], said: str, reason: Reason, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(StartFailed) as refused:
        body(tmp_path)
    assert said in refused.value.message
    assert refused.value.reason is reason


def test_another_architecture_under_a_known_name_is_refused(tmp_path: Path) -> None:
    folder = saved(qwen2(num_hidden_layers=3), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    for layers, said in ((2, "has besides layers.2."), (4, "lacks layers.3.")):
        told = {**config, "num_hidden_layers": layers, "layer_types": ["full_attention"] * layers}
        (folder / "config.json").write_text(json.dumps(told))
        with pytest.raises(StartFailed, match=said) as refused:
            body(folder)
        assert refused.value.reason is Reason.UNSUPPORTED_MODEL


def besides(model: Any, folder: Path, *names: str, **config: Any) -> Path:
    """The model in the folder, with parameters of these names and this in config.json."""
    saved(model, folder)
    weights = load_file(folder / "model.safetensors") | {n: torch.ones(1) for n in names}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | config))
    return folder


OWN: dict[str, dict[str, Any]] = {
    "the base model": {"auto_map": {"AutoModel": "org/code--modeling.Other"}},
    "the architecture": {
        "auto_map": {"AutoModelForSequenceClassification": "modeling.Other"},
        "architectures": ["Other"],
    },
}


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("config", OWN.values(), ids=OWN)
def test_weights_for_code_of_its_own_are_refused_where_the_type_is_known(
    config: dict[str, Any], trusted: bool, tmp_path: Path
) -> None:
    folder = besides(qwen2(), tmp_path, "linear.weight", "linear.bias", **config)
    ((auto, path),) = config["auto_map"].items()
    with pytest.raises(StartFailed) as refused:
        body(folder, trust_remote_code=trusted)
    said = (
        "has linear.bias and 1 more, which a qwen2 does not read; config.json names code that may"
    )
    assert f"{said} (auto_map.{auto}: {path})" in refused.value.message
    assert "; give it a model_type of its own" in refused.value.message
    assert refused.value.reason is Reason.UNSUPPORTED_MODEL


HARMLESS: dict[str, tuple[str, dict[str, Any]]] = {
    "no code": ("linear.weight", {}),
    "code of a tokenizer": ("linear.weight", {"auto_map": {"AutoTokenizer": ["t.Slow", None]}}),
    "code of another task": (
        "linear.weight",
        {"auto_map": {"AutoModelForCausalLM": "modeling.Other"}, "architectures": ["Qwen2Model"]},
    ),
    "a head": ("lm_head.weight", OWN["the base model"]),
    "a buffer": ("rotary_emb.inv_freq", OWN["the base model"]),
    "a classifier's hidden layer": (
        "dense.weight",
        OWN["the base model"] | {"architectures": ["OtherForSequenceClassification"]},
    ),
}


@pytest.mark.parametrize(("name", "config"), HARMLESS.values(), ids=HARMLESS)
def test_weights_that_no_code_can_miss_are_left_unread(
    name: str, config: dict[str, Any], tmp_path: Path
) -> None:
    assert isinstance(body(besides(qwen2(), tmp_path, name, **config)), Packed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: hf.NomicBertForMaskedLM(hf.NomicBertConfig(**SHAPE, pad_token_id=1)),
        lambda: hf.GteForMaskedLM(hf.GteConfig(**SHAPE, pad_token_id=1)),
        lambda: hf.JinaEmbeddingsV3ForMaskedLM(hf.JinaEmbeddingsV3Config(**SHAPE)),
        lambda: hf.EuroBertForMaskedLM(hf.EuroBertConfig(**GROUPED, pad_token_id=1)),
        lambda: hf.ModernBertForMaskedLM(hf.ModernBertConfig(**SHAPE, pad_token_id=1)),
    ],
    ids=["nomic_bert", "gte", "jina_embeddings_v3", "eurobert", "modernbert"],
)
def test_types_that_once_were_code_of_their_own_are_served_under_their_heads(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    """Their repositories still name that code."""
    folder = besides(make(), tmp_path, "inv_freq", **OWN["the base model"])
    assert isinstance(body(folder), Packed)


def test_a_text_may_not_reach_beyond_the_positions(tmp_path: Path) -> None:
    folder = saved(hf.XLMRobertaModel(hf.XLMRobertaConfig(**SHAPE)), tmp_path)
    assert isinstance(body(folder, max_tokens=62), Packed)
    with pytest.raises(StartFailed, match=r"set spec\.recipe\.maxTokens to at most 62") as refused:
        body(folder, max_tokens=63)
    assert refused.value.reason is Reason.INVALID_RECIPE


def test_layers_that_carry_a_state_along_are_not_packed(tmp_path: Path) -> None:
    layers = ["conv", "full_attention"]
    made = hf.Lfm2Model(hf.Lfm2Config(**SHAPE, num_key_value_heads=2, layer_types=layers))
    assert isinstance(body(saved(made, tmp_path)), Padded)


def test_the_recipe_decides_whether_a_decoder_sees_both_ways(tmp_path: Path) -> None:
    folder = saved(qwen2(), tmp_path)
    own, causal, both = (hidden(body(folder, causal=told), GIVEN) for told in (None, True, False))
    assert torch.equal(own, causal)
    assert torch.equal(own[2], both[2]) is False


GROUPED: dict[str, Any] = {**SHAPE, "num_key_value_heads": 2, "head_dim": 8}

DECODERS: dict[str, Any] = {
    "llama": lambda: hf.LlamaModel(hf.LlamaConfig(**GROUPED)),
    "mistral": lambda: hf.MistralModel(hf.MistralConfig(**GROUPED, sliding_window=None)),
    "qwen3": lambda: hf.Qwen3Model(hf.Qwen3Config(**GROUPED)),
}


@pytest.mark.parametrize("make", DECODERS.values(), ids=DECODERS)
def test_a_decoder_that_sees_both_ways_is_transformers_with_nothing_masked(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    model = make()
    found = hidden(body(saved(model, tmp_path), causal=False), GIVEN)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        for ours, item in zip(found.split([item.tokens for item in GIVEN]), GIVEN, strict=True):
            nothing = torch.zeros(1, 1, item.tokens, item.tokens)
            theirs = model(torch.tensor([item.ids]), attention_mask=nothing)[0][0]
            torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


def test_pickled_weights_are_the_same(tmp_path: Path) -> None:
    model = qwen2()
    wanted = hidden(body(saved(model, tmp_path)), GIVEN)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    assert torch.equal(hidden(body(tmp_path), GIVEN), wanted)


def test_bfloat16_stays_bfloat16(tmp_path: Path) -> None:
    half = hidden(body(saved(qwen2(), tmp_path), dtype=torch.bfloat16), GIVEN)
    assert half.dtype is torch.bfloat16


CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel

class Config(PretrainedConfig):
    model_type = "newest"
    vocab_size = 100
    pad_token_id = None

class Model(PreTrainedModel):
    config_class = Config
    _supports_attention_backend = {backend}

    def __init__(self, config):
        super().__init__(config)
        self.table = torch.nn.Embedding(100, 8)
        self.post_init()

    def get_input_embeddings(self):
        return self.table

    def forward(self, input_ids, attention_mask=None, position_ids=None, packing=None):
        x = self.table(input_ids)
        return ({mixed},)
"""

MASKED = (
    "(x * attention_mask[..., None]).sum(1, True) if attention_mask is not None else x.sum(1, True)"
)


def with_code(folder: Path, mixed: str, *, backend: bool = True) -> Path:
    """A model that brings its own code, which mixes each text's tokens into all of them."""
    code = CODE.format(mixed=f"x + ({mixed})", backend=backend)
    (folder / "modeling.py").write_text(code)
    config = {
        "model_type": "newest",
        "vocab_size": 100,
        "auto_map": {"AutoConfig": "modeling.Config", "AutoModel": "modeling.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    torch.save({"table.weight": torch.randn(100, 8)}, folder / "pytorch_model.bin")
    return folder


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where transformers copies a model's code to."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.mark.usefixtures("modules")
def test_code_that_ignores_the_packing_is_found_out_and_run_padded(tmp_path: Path) -> None:
    folder = tmp_path / "sum"
    folder.mkdir()
    found = body(with_code(folder, MASKED), trust_remote_code=True)
    assert isinstance(found, Padded)


@pytest.mark.usefixtures("modules")
def test_code_that_ignores_padding_too_is_not_served(tmp_path: Path) -> None:
    folder = tmp_path / "ends"
    folder.mkdir()
    with pytest.raises(StartFailed, match="depend on its batch, cosine") as refused:
        body(with_code(folder, "x[:, -1:]"), trust_remote_code=True)
    assert "(packed: a text's" in refused.value.message
    assert "; padded: a text's" in refused.value.message
    assert refused.value.reason is Reason.UNSUPPORTED_MODEL


class Named:
    """As good as an adapter, as far as a batch goes."""

    name = "a"


def test_a_rectangle_has_little_padding_and_one_adapter() -> None:
    one, other = Named(), Named()
    lengths = [(1, None), (5, None), (6, None), (6, one), (6, one), (6, other), (12, other)]
    given = [Item(ids=[1] * n, adapter=adapter) for n, adapter in lengths]
    spans = (
        Span(adapter=None, start=0, end=12),
        Span(adapter=one, start=12, end=24),
        Span(adapter=other, start=24, end=42),
    )
    packed = batch(given, CPU)
    assert packed.spans == spans
    assert list(groups(packed)) == [
        Group(start=0, lengths=(1,), attended=(1,), span=spans[0]),
        Group(start=1, lengths=(5, 6), attended=(5, 6), span=spans[0]),
        Group(start=12, lengths=(6, 6), attended=(6, 6), span=spans[1]),
        Group(start=24, lengths=(6,), attended=(6,), span=spans[2]),
        Group(start=30, lengths=(12,), attended=(12,), span=spans[2]),
    ]


def test_padding_and_packing_say_the_same_of_expansions_and_kinds() -> None:
    model = hf.BertModel(hf.BertConfig(**SHAPE)).eval()
    given = [
        Item(ids=[5, 6, 7, 8], attended=2),
        Item(ids=[5, 6, 7, 8, 9], second=3),
        Item(ids=[5, 6, 7, 8, 9]),
    ]
    padded = hidden(Padded(model, pad=0, kinds=True), given)
    hf.AttentionInterface.register(generic.NAME, generic.packed_attention)
    model.set_attn_implementation(generic.NAME)
    packed = hidden(Packed(model, first_position=0, kinds=True), given)
    torch.testing.assert_close(padded, packed, atol=1e-5, rtol=0)


def test_a_decoder_is_encoded_from_its_folder(
    tmp_path: Path, document: Callable[..., dict[str, Any]]
) -> None:
    model = qwen2()
    folder = saved(model, tmp_path)
    given = document(folder, pooling="lastToken", normalize=True, maxTokens=64, dtype="float32")
    encoder = load(folder, parse(given), 1)
    assert isinstance(encoder.body, Packed)
    vectors = [torch.from_numpy(output.dense) for output in encoder(GIVEN)]
    for item, vector in zip(GIVEN, vectors, strict=True):
        with torch.inference_mode():
            last = model(input_ids=torch.tensor([item.ids]))[0][0, -1]
        wanted = torch.nn.functional.normalize(last, dim=0)
        torch.testing.assert_close(vector, wanted, atol=2e-5, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("made", ["bert", "modernbert", "qwen2"])
def test_a_gpu_says_what_the_cpu_says(
    made: str, tmp_path: Path, minilm: Path, document: Callable[..., Any], monkeypatch: Any
) -> None:
    makers = {
        "modernbert": lambda: hf.ModernBertModel(
            hf.ModernBertConfig(**SHAPE, pad_token_id=1, cls_token_id=2, local_attention=8)
        ),
        "qwen2": qwen2,
    }
    folder = minilm if made == "bert" else saved(makers[made](), tmp_path)
    recipe = {"pooling": "mean", "normalize": True, "maxTokens": 64}
    gpu = load(folder, parse(document(folder, **recipe, dtype="auto")), 1)
    gpu.warm_up(512)
    monkeypatch.setattr(devices, "find", lambda: CPU)
    cpu = load(folder, parse(document(folder, **recipe)), 1)
    assert (gpu.device.type, cpu.device.type) == ("cuda", "cpu")
    for ours, exact in zip(gpu(GIVEN), cpu(GIVEN), strict=True):
        assert float((ours.dense * exact.dense).sum()) >= 0.999


def run_instead(encoder: Encoder, run: Callable[[Batch], torch.Tensor]) -> None:
    """Of its body's forward pass."""
    run.words, run.padding = encoder.body.words, encoder.body.padding  # type: ignore[attr-defined]
    encoder.body = run  # type: ignore[assignment]


def test_warming_up_runs_a_batch_of_each_size(
    minilm: Path, document: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder: Encoder = load(minilm, parse(document(minilm)), 1)
    usual, ran = encoder.body, []

    def watch(given: Batch) -> torch.Tensor:
        ran.append(given.packing.lengths)
        return usual(given)

    run_instead(encoder, watch)
    encoder.warm_up(64)
    assert ran == []
    monkeypatch.setattr(devices, "buckets", lambda *of: [(3, 2), (1, of[1])])
    encoder.warm_up(64)
    assert ran == [(2, 2, 2), (256,)]


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), OutOfMemory),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("shapes cannot be multiplied"), RuntimeError),
    ],
    ids=["of a GPU", "of the host", "of numpy", "another error"],
)
def test_exhausted_memory_has_a_name(
    error: Exception, named: type[Exception], minilm: Path, document: Callable[..., Any]
) -> None:
    encoder: Encoder = load(minilm, parse(document(minilm)), 1)

    def fail(given: Batch) -> torch.Tensor:
        raise error

    run_instead(encoder, fail)
    with pytest.raises(named) as found:
        encoder(GIVEN)
    assert type(found.value) is named


def test_a_pass_without_memory_gives_up_what_it_had(
    minilm: Path, document: Callable[..., Any]
) -> None:
    """What is run in parts after it may need just that."""
    encoder: Encoder = load(minilm, parse(document(minilm)), 1)
    held = []

    def fail(given: Batch) -> torch.Tensor:
        states = torch.zeros(len(given.ids), 8)
        held.append(weakref.ref(states))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    run_instead(encoder, fail)
    with pytest.raises(OutOfMemory) as found:
        encoder(GIVEN)
    assert held[0]() is None
    assert found.value.__cause__ is not None
