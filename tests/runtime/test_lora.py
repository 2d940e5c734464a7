"""Adapters as PEFT and sentence-transformers save them, against the model that PEFT merges them into."""

import gc
import json
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from numpy.typing import NDArray
from peft import LoraConfig
from safetensors.torch import load_file, save_file

import lorakit
from kubeembed_api.document import parse
from kubeembed_runtime.adapters import Adapter
from kubeembed_runtime.errors import AdapterRefused, UnknownModel
from kubeembed_runtime.model.adaptable import adapters_of
from kubeembed_runtime.model.adapters import LoraAdapters
from kubeembed_runtime.model.encoder import Encoder, load
from kubeembed_runtime.model.lora import LoraAdapter
from kubeembed_runtime.model.padded import Padded
from kubeembed_runtime.requests import Item
from lorakit import EVERY_LAYER, FAMILIES, QUERY_VALUE, Family, given, strong

#: PEFT asks transformers in a way that transformers has given up.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Base:
    """A model in a folder, as we serve it."""

    folder: Path
    family: Family
    encoder: Encoder
    adapters: LoraAdapters

    def put(self, folder: Path, name: str = "legal") -> Adapter:
        return self.adapters.put(name, folder).result()

    def encode(self, texts: Sequence[Sequence[int]], adapter: Adapter | None = None) -> Vectors:
        return self.mixed([(ids, adapter) for ids in texts])

    def mixed(self, texts: Sequence[tuple[Sequence[int], Adapter | None]]) -> Vectors:
        outputs = self.encoder([Item(ids=ids, adapter=adapter) for ids, adapter in texts])
        return np.stack([output.dense for output in outputs])


def based(folder: Path, family: Family, dtype: str = "float32") -> Base:
    strong(family.make(), 0).save_pretrained(folder)
    document = {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": "small"},
        "spec": {
            "model": {"source": f"file://{folder}"},
            "recipe": {
                "pooling": "mean",
                "normalize": True,
                "dtype": dtype,
                "maxTokens": 60,
            },
        },
    }
    encoder = load(folder, parse(document), 1)
    adapters = adapters_of(encoder, model="small", fingerprint="f00d")
    return Base(folder=folder, family=family, encoder=encoder, adapters=adapters)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Base]:
    """By the name of the family; each is made once."""
    made: dict[str, Base] = {}

    def base(name: str) -> Base:
        if name not in made:
            made[name] = based(tmp_path_factory.mktemp(name), FAMILIES[name])
        return made[name]

    return base


@pytest.fixture(scope="session")
def bert(bases: Callable[[str], Base]) -> Base:
    return bases("bert")


def tuned(base: Base, folder: Path, seed: int = 1, **config: Any) -> Path:
    """An adapter of the base as PEFT saves it."""
    wanted = {"target_modules": list(base.family.some), **config}
    return lorakit.tuned(base.folder, folder, seed, auto=base.family.auto, **wanted)


def merged(base: Base, adapter: Path, texts: Sequence[Sequence[int]]) -> Vectors:
    """Mean vectors by transformers, one text at a time, of the base with PEFT's merged weights."""
    return reference(lorakit.merged(base.folder, adapter, base.family.auto), texts)


@torch.inference_mode()
def reference(model: Any, texts: Sequence[Sequence[int]]) -> Vectors:
    means = [model(torch.tensor([list(ids)])).last_hidden_state[0].mean(0) for ids in texts]
    return torch.nn.functional.normalize(torch.stack(means), dim=-1).numpy()


def assert_served_as_merged(base: Base, folder: Path) -> None:
    texts = given()
    ours = base.encode(texts, base.put(folder))
    np.testing.assert_allclose(ours, merged(base, folder, texts), atol=1e-4)
    assert np.abs(ours - base.encode(texts)).max(axis=1).min() > 1e-2


@pytest.mark.parametrize("which", ["some", "all"])
@pytest.mark.parametrize("name", FAMILIES)
def test_vectors_are_those_of_the_merged_model_and_not_the_base_s(
    name: str, which: str, bases: Callable[[str], Base], tmp_path: Path
) -> None:
    base = bases(name)
    assert isinstance(base.encoder.body, Padded) == base.family.padded
    targets = list(getattr(base.family, which))
    assert_served_as_merged(base, tuned(base, tmp_path, target_modules=targets))


CONFIGS: Mapping[str, dict[str, Any]] = {
    "rank 1": {"r": 1},
    "rank above the width": {"r": 40},
    "rsLoRA": {"use_rslora": True},
    "regex": {"target_modules": r".*layer\.1\.attention\.self\.(key|value)"},
    "regex from the root": {"target_modules": r"encoder\.layer\.\d\.output\.dense"},
    "one layer": {"layers_to_transform": [1]},
    "one layer by number": {"layers_to_transform": 0},
    "one layer of a list": {"layers_to_transform": [1], "layers_pattern": "layer"},
    "all linear": {"target_modules": "all-linear"},
    "excluded": {"exclude_modules": r".*layer\.0.*"},
    "excluded by name": {"target_modules": EVERY_LAYER, "exclude_modules": ["key", "dense"]},
    "rank pattern": {"rank_pattern": {"query": 7, r"layer\.1.*value": 2}},
    "alpha pattern": {"alpha_pattern": {r"^encoder\.layer\.0.*": 32}, "use_rslora": True},
    "fan in, fan out": {"fan_in_fan_out": False, "init_lora_weights": "gaussian"},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_the_configuration_can_say_is_done_as_peft_does_it(
    config: dict[str, Any], bert: Base, tmp_path: Path
) -> None:
    assert_served_as_merged(bert, tuned(bert, tmp_path, **config))


def renamed(folder: Path, rename: Callable[[str], str]) -> Path:
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(
        {rename(name): x for name, x in tensors.items()}, folder / "adapter_model.safetensors"
    )
    return folder


KEYS: Mapping[str, Callable[[str], str]] = {
    "without PEFT's prefix": lambda name: name.removeprefix("base_model.model."),
    "of sentence-transformers": lambda name: name.replace("base_model.model.", "0.auto_model."),
    "of both": lambda name: name.replace("model.encoder", "model.0.auto_model.encoder"),
    "from above the base": lambda name: name.replace("model.encoder", "model.bert.encoder"),
    "from below the base's root": lambda name: name.replace("base_model.model.encoder.", ""),
    "with the adapter's name": lambda name: name.replace(".weight", ".default.weight"),
}


@pytest.mark.parametrize("rename", KEYS.values(), ids=KEYS)
def test_layers_are_found_by_the_end_of_their_names(
    rename: Callable[[str], str], bert: Base, tmp_path: Path
) -> None:
    folder = tuned(bert, tmp_path)
    wanted = bert.encode(given(), bert.put(folder))
    assert np.array_equal(bert.encode(given(), bert.put(renamed(folder, rename))), wanted)


def test_an_adapter_saved_by_sentence_transformers_is_read(bert: Base, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    whole, adapter = tmp_path / "whole", tmp_path / "adapter"
    hf.AutoModel.from_pretrained(bert.folder).save_pretrained(whole)
    words = Tokenizer(WordLevel({f"[{n}]": n for n in range(100)}, "[0]"))
    hf.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[1]").save_pretrained(whole)
    transformer = Transformer(str(whole))
    model = SentenceTransformer(modules=[transformer, Pooling(32, "mean")], device="cpu")
    model.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=QUERY_VALUE))
    strong(model, 1).save_pretrained(str(adapter))
    assert {"modules.json", "adapter_config.json"} <= {path.name for path in adapter.iterdir()}
    texts = given()
    ours = bert.encode(texts, bert.put(adapter))
    np.testing.assert_allclose(ours, reference(transformer.auto_model, texts), atol=1e-4)
    assert np.abs(ours - bert.encode(texts)).max() > 1e-2


def test_a_pooler_s_matrices_are_left_out(bert: Base, tmp_path: Path) -> None:
    folder = tuned(bert, tmp_path, target_modules=["dense"])
    names = load_file(folder / "adapter_model.safetensors")
    assert any("pooler" in name for name in names)
    assert_served_as_merged(bert, folder)


def rewrite(**fields: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, **fields}))

    return change


def with_tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")

    return write


QUERY = "base_model.model.encoder.layer.0.attention.self.query"


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def cut_short(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


REFUSED: Mapping[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (lambda f: [x.unlink() for x in f.iterdir()], "has no adapter_config.json; write"),
    "no JSON": (lambda f: (f / "adapter_config.json").write_text("{"), "cannot be read: Expecting"),
    "no object": (lambda f: (f / "adapter_config.json").write_text("[]"), "is no object"),
    "pickled": (pickled, "adapter_model.bin, which is pickled and never read; save it by PEFT's"),
    "no weights": (lambda f: (f / "adapter_model.safetensors").unlink(), "no adapter_model.safet"),
    "cut short": (cut_short, "adapter_model.safetensors is not whole: "),
    "other method": (rewrite(peft_type="IA3"), 'peft_type "IA3"; supported: LORA'),
    "DoRA": (rewrite(use_dora=True), "use_dora true; supported: false"),
    "bias": (rewrite(bias="lora_only"), 'bias "lora_only"; supported: none'),
    "LoRA bias": (rewrite(lora_bias=True), "lora_bias true; supported: false"),
    "modules to save": (
        rewrite(modules_to_save=["classifier"]),
        r'modules_to_save \["classifier"\]; supported: none; train with task_type FEATURE_EXTRACT',
    ),
    "replicated layers": (rewrite(layer_replication=[[0, 2]]), "layer_replication"),
    "token training": (rewrite(trainable_token_indices=[1]), r"trainable_token_indices \[1\]"),
    "base changed": (rewrite(init_lora_weights="pissa"), '"pissa"; supported: .*; convert it'),
    "unknown field": (rewrite(warp=9), "warp 9; supported: none"),
    "no rank": (rewrite(r=0), "r 0; supported: a whole number above 0"),
    "rank no number": (rewrite(rank_pattern={"query": "8"}), 'r "8"; supported'),
    "bad regex": (rewrite(target_modules="(query"), "adapter_config.json in .* cannot be read: "),
    "no targets": (rewrite(target_modules=[]), "no target_modules: it targets nothing"),
    "targets nothing": (with_tensors(dict.clear), "changes no layer of the base"),
    "another rank": (
        rewrite(r=8),
        r"self\.query has lora_A \(4, 32\) and lora_B \(32, 4\); the base's layer at rank 8 takes"
        r" \(8, 32\) and \(32, 8\)",
    ),
    "another base": (
        with_tensors(lambda t: t.update({f"{QUERY}.lora_A.weight": torch.ones(4, 64)})),
        r"layer\.0\.attention\.self\.query has lora_A \(4, 64\) and .* takes \(4, 32\)",
    ),
    "a layer too many": (
        with_tensors(
            lambda t: t.update(
                {name.replace("layer.1", "layer.7"): x.clone() for name, x in t.items()}
            )
        ),
        r"changes encoder\.layer\.7\.attention\.self\.\w+, which is no layer of the base:"
        r" attention\.output\.dense, attention\.self\.key,",
    ),
    "a layer too few": (
        with_tensors(lambda t: [t.pop(f"{QUERY}.lora_{side}.weight") for side in "AB"]),
        r"selects encoder\.layer\.0\.attention\.self\.query \(query, value\), for which",
    ),
    "no alpha": (rewrite(lora_alpha=None), "has lora_alpha null; supported: a number"),
    "not selected": (
        rewrite(target_modules=["query"]),
        r"self\.value, which target_modules of adapter_config\.json do not select: query",
    ),
    "half a pair": (
        with_tensors(lambda t: t.pop(f"{QUERY}.lora_B.weight")),
        r"lora_A of encoder\.layer\.0\.attention\.self\.query alone",
    ),
    "twice": (
        with_tensors(
            lambda t: t.update(
                {f"{QUERY}.lora_A.other.weight": t[f"{QUERY}.lora_A.weight"].clone()}
            )
        ),
        "has lora_A of .* twice",
    ),
    "two towers": (
        with_tensors(
            lambda t: t.update(
                {name.replace("encoder", "1.encoder"): x.clone() for name, x in t.items()}
            )
        ),
        r"has both 1\.encoder.* and encoder",
    ),
    "embedding": (
        with_tensors(lambda t: t.update({"words.lora_embedding_A": torch.ones(4, 100)})),
        "words.lora_embedding_A, which is embedding LoRA",
    ),
    "DoRA's tensors": (
        with_tensors(lambda t: t.update({f"{QUERY}.lora_magnitude_vector": torch.ones(32)})),
        "lora_magnitude_vector, which is DoRA",
    ),
    "a head": (
        with_tensors(lambda t: t.update({"classifier.weight": torch.ones(2, 32)})),
        "classifier.weight, which is no LoRA matrix",
    ),
    "whole numbers": (
        with_tensors(
            lambda t: t.update({f"{QUERY}.lora_A.weight": torch.ones(4, 32, dtype=torch.int8)})
        ),
        "is torch.int8; supported: float32",
    ),
    "no numbers": (
        with_tensors(lambda t: t[f"{QUERY}.lora_A.weight"].fill_(torch.nan)),
        "lora_A of .* has values that are no numbers",
    ),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_served_is_refused_by_name_and_changes_nothing(
    change: Callable[[Path], Any], said: str, bert: Base, tmp_path: Path
) -> None:
    before = bert.put(tuned(bert, tmp_path, target_modules=QUERY_VALUE))
    texts = given()
    vectors = bert.encode(texts, before)
    change(tmp_path)
    with pytest.raises(AdapterRefused, match=said):
        bert.put(tmp_path)
    assert bert.adapters.find("legal") is before
    assert np.array_equal(bert.encode(texts, before), vectors)


def test_a_base_without_layers_that_can_be_adapted_says_so(tmp_path: Path) -> None:
    """GPT-2's are no linear layers to torch."""
    config = {"n_embd": 32, "n_layer": 1, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
    family = Family(
        make=lambda: hf.GPT2Model(hf.GPT2Config(vocab_size=100, **config)), some=["c_attn"], all=[]
    )
    base = based(tmp_path / "base", family)
    folder = tuned(base, tmp_path / "adapter", fan_in_fan_out=True)
    said = r"changes h\.0\.attn\.c_attn, .* base: none of its layers can be adapted"
    with pytest.raises(AdapterRefused, match=said):
        base.put(folder)


@pytest.mark.parametrize(
    "name", ["bert", "albert", "modernbert", "qwen2", "gemma2", "deberta-v2", "t5"]
)
def test_any_order_and_mix_of_a_batch_gives_the_vectors_of_each_text_alone(
    name: str, bases: Callable[[str], Base], tmp_path: Path
) -> None:
    base = bases(name)
    configs = [{}, {"r": 2}, {"target_modules": list(base.family.all)}, {}, {"r": 9}]
    adapters = [None] + [
        base.put(tuned(base, tmp_path / str(seed), seed, **config), f"a{seed}")
        for seed, config in enumerate(configs, 1)
    ]
    choose = random.Random(11)
    pool = [
        (ids, adapter)
        for ids in given(3, [choose.randint(1, 20) for _ in range(10)])
        for adapter in adapters
    ]
    alone = np.concatenate([base.mixed([one]) for one in pool])
    for _ in range(25):
        places = choose.sample(range(len(pool)), choose.randint(1, 24))
        vectors = base.mixed([pool[place] for place in places])
        np.testing.assert_allclose(vectors, alone[places], atol=2e-5)


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def living() -> int:
    """Adapters that something still holds."""
    gc.collect()
    return sum(type(one) is LoraAdapter for one in gc.get_objects())


@pytest.fixture
def short_turns() -> Iterator[None]:
    """Threads take turns every 50 us: more interleavings, and the one that waits is not starved."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("short_turns")
@pytest.mark.parametrize("name", ["bert", "modernbert", "deberta-v2"])
def test_a_thousand_loads_beside_a_busy_encoder_change_no_vector_and_leak_nothing(
    name: str, bases: Callable[[str], Base], tmp_path: Path
) -> None:
    """The adapters have 150 kB each, so a thousand that stayed would be seen."""
    base = bases(name)
    large = {"target_modules": list(base.family.all), "r": 96}
    folders = [tuned(base, tmp_path / str(seed), seed, **large) for seed in (1, 2)]
    texts = given(7, (3, 8))
    wanted: dict[str | None, Vectors] = {None: base.encode(texts)}
    for folder in folders:
        adapter = base.put(folder, "changing")
        assert adapter.bytes > 150_000
        wanted[adapter.fingerprint] = base.encode(texts, adapter)
    del adapter
    done, begun, wrong, batches = threading.Event(), threading.Event(), [], 0

    def serve() -> None:
        nonlocal batches
        while not done.is_set():
            try:
                found = base.adapters.find("changing")
            except UnknownModel:
                continue
            adapter = found.result() if isinstance(found, Future) else found
            vectors = base.mixed([(ids, by) for by in (None, adapter) for ids in texts])
            both = np.concatenate([wanted[None], wanted[adapter.fingerprint]])
            if np.abs(vectors - both).max() > 2e-5:
                wrong.append(adapter.fingerprint)
            batches += 1
            begun.set()

    before, count = resident(), living()
    with ThreadPoolExecutor(1) as device:
        serving = device.submit(serve)
        try:
            assert begun.wait(30)
            for turn in range(1000):
                base.put(folders[turn % 2], "changing")
                if turn % 3 == 2:
                    base.adapters.remove("changing").result()
        finally:
            done.set()  # else the other thread would go on, and hide what failed here
        serving.result()
    assert wrong == []
    assert batches > 10
    assert living() <= count + 2
    assert resident() - before < 60_000_000


def test_half_precision_adapts_closely(bert: Base, tmp_path: Path) -> None:
    half = based(tmp_path / "base", FAMILIES["bert"], "bfloat16")
    folder = tuned(bert, tmp_path / "adapter")
    texts = given()
    ours, wanted = half.encode(texts, half.put(folder)), merged(bert, folder, texts)
    assert (ours * wanted).sum(1).min() > 0.995
    assert (half.encode(texts) * wanted).sum(1).min() < 0.99


def test_the_fingerprint_is_of_the_base_and_the_adapter_s_files(bert: Base, tmp_path: Path) -> None:
    one = bert.put(tuned(bert, tmp_path / "one"), "one")
    same = bert.put(tmp_path / "one", "same")
    other = bert.put(tuned(bert, tmp_path / "other", 2), "other")
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, other.fingerprint, "f00d"}) == 3
    rewrite(lora_alpha=9)(tmp_path / "one")
    assert bert.put(tmp_path / "one", "one").fingerprint != one.fingerprint
