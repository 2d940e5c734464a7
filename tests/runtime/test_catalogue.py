"""The catalogue as a whole, and the recipes of the models that users ask for first, field by field."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel, Metadata
from kubeembed_api.reasons import Reason
from kubeembed_api.spec import ModelSource, Spec
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model import catalogue
from kubeembed_runtime.model.recipes import MultivectorRecipe, Recipe, SparseRecipe, Told
from kubeembed_runtime.model.resolving import resolve, resolve_from_catalogue

WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
INSTRUCT = "Instruct: {instruction}\nQuery: "
Folder = Callable[[dict[str, Any]], Path]


def model(name: str) -> EmbeddingModel:
    spec = Spec(model=ModelSource(source=f"hf://{name}"))
    return EmbeddingModel(metadata=Metadata(name="m"), spec=spec)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """({file: what is in it}) -> a folder that holds them."""

    def write(files: dict[str, Any]) -> Path:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    return write


@pytest.mark.parametrize("name", catalogue.entries())
def test_an_entry_is_whole(name: str) -> None:
    """Each tells, without any file, everything between a text and its vector."""
    entry = catalogue.find(name)
    assert entry is not None
    recipe = resolve_from_catalogue(model(entry.id))
    assert recipe.outputs.value == entry.outputs
    parts = {"sparse": entry.sparse, "multivector": entry.multivector, "score": entry.score}
    assert {kind for kind, part in parts.items() if part} == set(entry.outputs) - {"dense"}
    assert (entry.pooling is None) == ("dense" not in entry.outputs)
    assert entry.default_instruction is None or entry.instruction is not None
    assert not any("{" in text for text in (entry.prompts or {}).values())
    texts = [entry.instruction or "", *recipe.prompts.value.values()]
    assert not any("\\" in text for text in texts)  # an escape that YAML did not read
    assert set(entry.over_files) <= {"pooling", "normalize", "maxTokens"}


def test_names_are_found_in_either_case() -> None:
    assert catalogue.find("baai/BGE-m3") == catalogue.find("BAAI/bge-m3") is not None
    assert catalogue.find("baai/bge-m4") is None


#: What differs from an encoder with dense vectors of length one, no prompts and no instruction.
PLAIN: dict[str, Any] = {
    "outputs": ["dense"],
    "normalize": True,
    "lower": False,
    "truncation": "right",
    "prompts": {},
    "default_prompt": "",
    "query_prompt": "",
    "document_prompt": "",
    "instruction": None,
    "default_instruction": None,
    "include_prompt": True,
    "causal": False,
    "append_eos": False,
    "projections": [],
    "sparse": None,
    "multivector": None,
    "score": None,
}
SEARCH = "Represent this sentence for searching relevant passages: "
E5 = {
    "pooling": "mean",
    "dimensions": 1024,
    "max_tokens": 512,
    "prompts": {"query": "query: ", "document": "passage: "},
    "query_prompt": "query: ",
    "document_prompt": "passage: ",
}
INSTRUCTED = {
    "prompts": {"query": INSTRUCT.replace("{instruction}", WEB_SEARCH)},
    "query_prompt": f"Instruct: {WEB_SEARCH}\nQuery: ",
    "instruction": INSTRUCT,
    "default_instruction": WEB_SEARCH,
}
BGE_M3 = {
    "outputs": ["dense", "sparse", "multivector"],
    "pooling": "cls",
    "dimensions": 1024,
    "max_tokens": 8192,
    "sparse": {
        "kind": "linear",
        "activation": "relu",
        "skip": ["<s>", "</s>", "<pad>", "<unk>"],
        "documents_only": False,
        "file": "sparse_linear.pt",
    },
    "multivector": {
        "dimensions": 1024,
        "query_tokens": None,
        "document_tokens": None,
        "expand": False,
        "attend_expansion": False,
        "query_marker": None,
        "document_marker": None,
        "skip": [],
        "skip_first": True,
        "normalize": True,
        "mean": True,
        "file": "colbert_linear.pt",
    },
}
#: What the cards of the first models that users ask for say.
WANTED: dict[str, dict[str, Any]] = {
    "BAAI/bge-m3": BGE_M3,
    "thenlper/gte-large": {"pooling": "mean", "dimensions": 1024, "max_tokens": 512},
    "intfloat/e5-large-v2": E5,
    "intfloat/multilingual-e5-large": E5,
    "BAAI/bge-small-en-v1.5": {
        "pooling": "cls",
        "dimensions": 384,
        "max_tokens": 512,
        "prompts": {"query": SEARCH},
        "query_prompt": SEARCH,
    },
    "sentence-transformers/all-MiniLM-L6-v2": {
        "pooling": "mean",
        "dimensions": 384,
        "max_tokens": 256,
    },
    "intfloat/e5-mistral-7b-instruct": {
        "pooling": "lastToken",
        "dimensions": 4096,
        "max_tokens": 4096,
        "causal": True,
        "append_eos": True,
        **INSTRUCTED,
    },
    "Alibaba-NLP/gte-Qwen2-1.5B-instruct": {
        "pooling": "lastToken",
        "dimensions": 1536,
        "max_tokens": 32768,
        "causal": False,
        "append_eos": True,
        **INSTRUCTED,
    },
    "intfloat/multilingual-e5-large-instruct": {
        "pooling": "mean",
        "dimensions": 1024,
        "max_tokens": 512,
        **INSTRUCTED,
    },
}


@pytest.mark.parametrize(("name", "differs"), WANTED.items(), ids=WANTED.keys())
def test_a_recipe_is_as_the_card_says(name: str, differs: dict[str, Any]) -> None:
    assert resolve_from_catalogue(model(name)).plain() == PLAIN | differs


def test_an_adapter_changes_nothing_about_the_recipe_of_its_base() -> None:
    document = {"name": "banking", "source": "hf://saivamshiatukuri/bge-m3-banking77-lora"}
    spec = Spec.model_validate(
        {"model": {"source": "hf://BAAI/bge-m3"}, "adapters": [document]},
    )
    adapted = EmbeddingModel(metadata=Metadata(name="m"), spec=spec)
    assert resolve_from_catalogue(adapted).plain() == PLAIN | BGE_M3


MODULES = [
    {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def files(pooling: str = "mean", **others: Any) -> dict[str, Any]:
    """A model in sentence-transformers' layout, as its repository has it."""
    return {
        "config.json": {
            "model_type": "bert",
            "hidden_size": 1024,
            "max_position_embeddings": 512,
        },
        "modules.json": MODULES,
        "1_Pooling/config.json": {"pooling_mode": pooling},
        "sentence_bert_config.json": {"max_seq_length": 512},
        **others,
    }


def test_the_catalogue_fills_what_the_files_leave_open(folder: Folder) -> None:
    recipe = resolve(folder(files()), model("intfloat/e5-large-v2"))
    assert recipe.pooling == Told(value="mean", origin="1_Pooling/config.json")
    assert recipe.prompts == Told(
        value={"query": "query: ", "document": "passage: "}, origin="catalogue"
    )
    assert recipe.query_prompt == Told(value="query: ", origin="catalogue")
    assert recipe.plain() == PLAIN | E5


def test_a_card_that_wants_an_end_of_texts_is_heard_whatever_the_tokenizer_says(
    folder: Folder,
) -> None:
    where = folder(files(**{"tokenizer_config.json": {"add_eos_token": True}}))
    recipe = resolve(
        where,
        model("intfloat/e5-mistral-7b-instruct"),
    )
    assert recipe.append_eos == Told(value=True, origin="catalogue")


def test_the_files_win_over_the_catalogue(folder: Folder) -> None:
    recipe = resolve(folder(files(pooling="cls")), model("intfloat/e5-large-v2"))
    assert recipe.pooling == Told(value="cls", origin="1_Pooling/config.json")


def test_the_card_wins_over_the_files_where_the_catalogue_says_so(folder: Folder) -> None:
    recipe = resolve(folder(files(pooling="mean")), model("WhereIsAI/UAE-Large-V1"))
    assert recipe.pooling == Told(value="cls", origin="catalogue")


SETTINGS = "config_sentence_transformers.json"


@pytest.mark.parametrize(
    ("prompts", "merged", "origin"),
    [
        ({"query": "Q: ", "document": "D: "}, {"query": "Q: ", "document": "D: "}, SETTINGS),
        ({"query": "Q: "}, {"query": "Q: ", "document": "passage: "}, f"{SETTINGS}, catalogue"),
        (
            {"query": "", "document": ""},
            {"query": "query: ", "document": "passage: "},
            "catalogue",
        ),
    ],
    ids=["all", "one", "named and empty"],
)
def test_prompts_of_the_files_and_the_catalogue_are_joined(
    folder: Folder, prompts: dict[str, str], merged: dict[str, str], origin: str
) -> None:
    where = folder(files(**{SETTINGS: {"prompts": prompts}}))
    recipe = resolve(where, model("intfloat/e5-large-v2"))
    assert recipe.prompts == Told(value=merged, origin=origin)


def bge_m3(**others: Any) -> dict[str, Any]:
    config = {"model_type": "xlm-roberta", "hidden_size": 1024, "max_position_embeddings": 8194}
    told = {"config.json": config, "sentence_bert_config.json": {"max_seq_length": 8192}}
    return files(pooling="cls", **told, **others)


def test_bge_m3_gives_what_the_folder_has_the_weights_for(folder: Folder) -> None:
    where = folder(bge_m3())
    assert resolve(where, model("BAAI/bge-m3")).outputs.value == ("dense",)
    (where / "colbert_linear.pt").touch()
    assert resolve(where, model("BAAI/bge-m3")).outputs.value == ("dense", "multivector")
    (where / "sparse_linear.pt").touch()
    recipe = resolve(where, model("BAAI/bge-m3"))
    assert recipe.plain() == PLAIN | BGE_M3
    assert recipe.sparse.origin == "sparse_linear.pt"


def test_a_mirror_of_bge_m3_is_known_by_its_files(folder: Folder) -> None:
    where = folder(bge_m3())
    (where / "colbert_linear.pt").touch()
    (where / "sparse_linear.pt").touch()
    spec = Spec(model=ModelSource(source=f"file://{where}"))
    found = resolve(where, EmbeddingModel(metadata=Metadata(name="m"), spec=spec))
    assert found.plain() == PLAIN | BGE_M3


def test_a_bare_splade_is_known_by_the_catalogue(folder: Folder) -> None:
    """Its repository holds a masked language model and nothing that tells what for."""
    config = files()["config.json"] | {"architectures": ["BertForMaskedLM"]}
    recipe = resolve(folder({"config.json": config}), model("naver/splade-v3"))
    assert recipe.outputs == Told(value=("sparse",), origin="catalogue")
    assert recipe.sparse.value == SparseRecipe(kind="mlm", activation="log1p_relu")


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_pages_say_how_many_cards_there_are(page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    assert f"a catalogue of {len(catalogue.entries())} " in text


def test_late_interaction_is_dressed_as_the_card_says() -> None:
    found = resolve_from_catalogue(model("answerdotai/answerai-colbert-small-v1")).multivector.value
    assert isinstance(found, MultivectorRecipe)
    assert (found.expand, found.attend_expansion, found.query_tokens) == (True, False, 32)
    assert len(found.skip) == 32


@pytest.mark.parametrize("name", [*catalogue.unsupported(), "jinaai/Jina-ColBERT-v2"])
def test_a_card_that_nobody_here_can_follow_is_refused_and_says_why(
    name: str, folder: Folder
) -> None:
    assert catalogue.find(name) is None
    for resolving in (
        lambda: resolve_from_catalogue(model(name)),
        lambda: resolve(folder(files()), model(name)),
    ):
        with pytest.raises(StartFailed, match=f"{name} needs code of its own: J.*supported") as no:
            resolving()
        assert no.value.reason is Reason.UNSUPPORTED_MODEL


CODE = {"auto_map": {"AutoModel": "acme/code--modeling.Own"}}


def test_what_only_code_of_its_own_computes_is_refused_as_such(folder: Folder) -> None:
    """A copy of jina-embeddings-v2 under another name."""
    config = {**files()["config.json"], **CODE, "position_embedding_type": "alibi"}
    said = r"position_embedding_type 'alibi'; only code .* \(auto_map\.AutoModel: acme/code--model"
    with pytest.raises(StartFailed, match=said) as refused:
        resolve(folder(files(**{"config.json": config})), model("acme/mine"))
    assert refused.value.reason is Reason.UNSUPPORTED_MODEL


@pytest.mark.parametrize("model_type", ["bert", "qwen3"])
def test_trusted_code_that_is_not_run_is_told(model_type: str, folder: Folder) -> None:
    """sentence-transformers runs it if told to trust it, and transformers' own class otherwise."""
    config = {**files()["config.json"], **CODE, "model_type": model_type}
    where = folder(files(**{"config.json": config}))
    trusting = ModelSource(source="hf://acme/mine", trust_remote_code=True)
    document = EmbeddingModel(metadata=Metadata(name="m"), spec=Spec(model=trusting))
    with pytest.raises(StartFailed, match=r"is not run for .*; take trustRemoteCode away") as no:
        resolve(where, document)
    assert no.value.reason is Reason.UNSUPPORTED_MODEL
    (where / "config.json").write_text(json.dumps({**config, "model_type": "new"}))
    assert resolve(where, document).pooling.value == "mean"


def test_gte_qwen2_sees_both_ways_though_its_configuration_does_not_tell(folder: Folder) -> None:
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "auto_map": {"AutoModel": "modeling_qwen.Qwen2Model"},
        "model_type": "qwen2",
        "hidden_size": 1536,
        "max_position_embeddings": 131072,
    }
    where = folder(files(pooling="lasttoken", **{"config.json": config}))
    recipe = resolve(where, model("Alibaba-NLP/gte-Qwen2-1.5B-instruct"))
    assert recipe.causal == Told(value=False, origin="catalogue")


def test_a_model_that_nobody_knows_is_no_recipe_without_its_files() -> None:
    with pytest.raises(StartFailed, match="hf://acme/mine is not in the catalogue") as refused:
        resolve_from_catalogue(model("acme/mine"))
    assert refused.value.reason is Reason.INVALID_RECIPE


def test_the_fields_of_a_recipe_are_those_that_are_compared_here() -> None:
    fields = set(Recipe.__dataclass_fields__)
    assert fields == {*PLAIN, "pooling", "dimensions", "max_tokens"}
