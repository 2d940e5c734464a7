"""modules.json of sentence-transformers: which modules a text goes through, and where the Dense ones lead.

And what the first of them, the Transformer, is told beyond config.json.
"""

from collections.abc import Mapping
from typing import Any

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.files import MODULES, TOKENIZER, Files, class_name
from kubeembed_runtime.model.limits import DECODERS, own_code
from kubeembed_runtime.model.recipes import Told

#: Fields of Recipe -> what is told of them.
Facts = Mapping[str, Told[Any]]

#: Those without effect when serving, anywhere among the others.
_NO_EFFECT = ("Dropout",)

#: What is told of loading the model, of config.json and of the tokenizer, by old names and new.
_ARGUMENTS = ("model_args", "model_kwargs", "config_args", "config_kwargs")
_TOKENIZER_ARGUMENTS = ("tokenizer_args", "processor_kwargs")

#: Arguments that change no vector, or only its rounding. The last two are read, of a tokenizer.
_HARMLESS = (
    "_attn_implementation", "add_pooling_layer", "attn_implementation", "cache_dir",
    "clean_up_tokenization_spaces", "code_revision", "device_map", "dtype", "local_files_only",
    "low_cpu_mem_usage", "padding_side", "revision", "token", "torch_dtype", "trust_remote_code",
    "unpad_inputs", "use_cache", "use_fast", "use_memory_efficient_attention", "use_safetensors",
    "model_max_length", "truncation_side",
)  # fmt: skip

#: Arguments that put tokens around texts, and without effect in tokenizer_config.json.
_ENDS = ("add_bos_token", "add_eos_token")

#: The types of BERT's family.
_OF_BERT = ("bert", "camembert", "roberta", "xlm-roberta")

#: The heads that are computed here, as the library names what it loads.
_TASKS = ("feature-extraction", "fill-mask", "sequence-classification")


def unsupported(problem: str) -> StartFailed:
    return StartFailed(Reason.UNSUPPORTED_MODEL, problem)


def refuse_other_modules(files: Files, known: tuple[str, ...]) -> None:
    """Each must be known, and the order the usual one: another is another computation."""
    kinds = [kind for kind in files.kinds() if kind not in _NO_EFFECT]
    for kind in kinds:
        if kind not in known:
            problem = f"{MODULES} has a {kind} module"
            raise unsupported(f"{problem}; supported here: {', '.join(known)}")
    ordered = [kind for kind in kinds if kind != "MultiVectorMask"]  # it changes no vector
    if ordered != sorted(ordered, key=known.index):
        raise unsupported(f"{MODULES} has {', '.join(kinds)}; supported: {', '.join(known)}")


def refuse_other_encoders(files: Files) -> None:
    """The first module must be what lies beside config.json: everything else is read from there."""
    if files.has("adapter_config.json"):
        problem = "adapter_config.json lies where the model's own files do; its library would load"
        way = "name the base model in spec.model and this folder in spec.adapters"
        raise unsupported(f"{problem} the base model that it names, and it over that; {way}")
    for name, path in (files.modules or ())[:1]:
        known = name in ("Transformer", "MLMTransformer", "Router") or files.has("config.json")
        if path not in ("", ".") or not known:
            problem = f"{MODULES} has its first module, {name}, in {path or 'the root'}"
            raise unsupported(f"{problem}; supported: a Transformer beside config.json (path '')")


def refuse_own_positions(files: Files) -> None:
    """BERT's family under the name of a type that transformers has, and computed by the model's own code."""
    told, model_type = files.config.get("position_embedding_type"), files.config.get("model_type")
    code = own_code(files.config)
    if code is not None and told not in (None, "absolute") and model_type in _OF_BERT:
        problem = f"config.json has position_embedding_type {told!r}"
        why = f"only code of the model's own computes that (auto_map.AutoModel: {code})"
        way = f"it is not run for model_type {model_type!r}, which transformers has"
        raise unsupported(f"{problem}; {why}, and {way}; such a model is not supported")


def refuse_code_not_run(files: Files) -> None:
    """Where code is trusted, transformers runs it, also if it has a class of this type itself."""
    code = own_code(files.config)
    model_type = files.config.get("model_type")
    if code is not None and model_type in (*_OF_BERT, *DECODERS):
        problem = (
            f"spec.model.trustRemoteCode is true, and config.json has auto_map.AutoModel {code}"
        )
        why = f"that code is not run for model_type {model_type!r}, which transformers has itself"
        way = "take trustRemoteCode away for the vectors of transformers' own class"
        raise unsupported(f"{problem}; {why}; {way}")


def refuse_other_texts(files: Files) -> None:
    """What the Transformer's own file tells and nothing here does, each by its key."""
    told, name = files.transformer, files.transformer_file
    task = told.get("transformer_task") or _TASKS[0]
    if task not in _TASKS:
        raise unsupported(f"{name} has transformer_task {task}; supported: {', '.join(_TASKS)}")
    _refuse_modalities(told.get("modality_config") or {}, name)
    processing = [key for key, value in (told.get("processing_kwargs") or {}).items() if value]
    if processing:
        problem = f"{name} has processing_kwargs for {', '.join(processing)}"
        raise unsupported(f"{problem}, which changes how texts become tokens; supported: none")
    if told.get("tokenizer_name_or_path"):
        problem = f"{name} has tokenizer_name_or_path {told['tokenizer_name_or_path']}"
        raise unsupported(f"{problem}; supported: the tokenizer beside the model")
    _refuse_arguments(told, name)


def _refuse_arguments(told: Mapping[str, Any], name: str) -> None:
    for kind in (*_ARGUMENTS, *_TOKENIZER_ARGUMENTS):
        other = [key for key in told.get(kind) or {} if key not in _HARMLESS]
        if other:
            problem = f"{name} has {', '.join(other)} in {kind}, which may change vectors"
            where = TOKENIZER if kind in _TOKENIZER_ARGUMENTS else "config.json"
            way = f"write it in {where} if it has it, else take it away"
            if set(other) <= set(_ENDS):
                way = "take it away and write such tokens into tokenizer.json's post_processor"
            raise unsupported(f"{problem}; {way}")


def _refuse_modalities(told: Mapping[str, Any], name: str) -> None:
    other = [modality for modality in told if modality != "text"]
    if other:
        problem = f"{name} has {', '.join(other)} in modality_config; supported: text"
        why = "; a message is a text in a chat template" if "message" in other else ""
        raise unsupported(problem + why)
    method = (told.get("text") or {}).get("method", "forward")
    if method != "forward":
        raise unsupported(f"{name} has {method} for texts in modality_config; supported: forward")


def refuse_sides(files: Files) -> None:
    """Lengths of a side, which only vectors per token have here."""
    for key in ("query_length", "document_length", "query_expansion"):
        if files.transformer.get(key) is not None:
            problem = f"{files.transformer_file} has {key} {files.transformer[key]}"
            raise unsupported(f"{problem}; supported with model_type MultiVectorEncoder alone")


def tokenizer_arguments(files: Files) -> Mapping[str, Any]:
    """What the Transformer's own file tells of the tokenizer, which is taken over the tokenizer's file."""
    old, new = (files.transformer.get(kind) for kind in _TOKENIZER_ARGUMENTS)
    return old if old is not None else new or {}


def projections(files: Files, of: str = "sentence_embedding") -> Facts:
    """of: what they must read and write, by the library's name; without a word they do."""
    folders = tuple(files.folders("Dense"))
    if not folders:
        return {}
    for folder in folders:
        _refuse_other_ends(files, f"{folder}/config.json", of)
    last = f"{folders[-1]}/config.json"
    width = files.read(last).get("out_features")
    if width is None:
        raise unsupported(f"{last} tells no out_features")
    return {
        "projections": Told(value=folders, origin=MODULES),
        "dimensions": Told(value=int(width), origin=last),
    }


def _refuse_other_ends(files: Files, name: str, of: str) -> None:
    # A Dense over sentences among vectors per token is one over tokens: the library redirects it.
    known = (None, of, "sentence_embedding")
    told = files.read(name)
    for key in ("module_input_name", "module_output_name"):
        if told.get(key) not in known:
            raise unsupported(f"{name} has {key} {told[key]}; supported: {of}")


def document_route(files: Files) -> tuple[str, Mapping[str, Any]]:
    """A router with two ways: a query's tokens have fixed weights, a document is encoded."""
    name = "router_config.json"
    told = files.read(name)
    names, structure = _routes(name, told.get("types") or {}), told.get("structure") or {}
    ways = {
        side: [names.get(path, "None") for path in structure.get(side, ())]
        for side in ("query", "document")
    }
    if ways != {
        "query": ["SparseStaticEmbedding"],
        "document": ["MLMTransformer", "SpladePooling"],
    }:
        raise unsupported(
            f"{name} routes {ways}; supported: queries by weights, documents by SPLADE"
        )
    encoder, pooling = structure["document"]
    if encoder:
        raise unsupported(f"{name} has its encoder in {encoder}; supported: beside config.json")
    path = f"{pooling}/config.json"
    return path, files.read(path)


def _routes(name: str, types: Mapping[str, Any]) -> Mapping[str, str]:
    """Folder -> the name of its module's class. Raises StartFailed for one of the model's own."""
    packages, theirs = ("sentence_transformers.",), "sentence_transformers"
    return {
        path: class_name(
            str(module),
            packages,
            f"{name} has the module {module} in types, for {path or 'the root'}",
            theirs,
        )
        for path, module in types.items()
    }
