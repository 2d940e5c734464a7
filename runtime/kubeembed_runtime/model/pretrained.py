"""A folder -> transformers' model of it, on the CPU: its class, its weights, and what is refused of both.

transformers is imported here and in `generic`, once a model needs it: that takes seconds that users wait for.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import Embedding, ModuleList

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed

#: What the names of the parameters of transformers' own heads begin with, and of T5's other half.
_HEADS = (
    "classifier",
    "cls",
    "decoder",
    "discriminator_predictions",
    "generator_lm_head",
    "generator_predictions",
    "head",
    "lm_head",
    "lm_predictions",
    "mask_predictions",
    "pooler",
    "pre_classifier",
    "predictions",
    "qa_outputs",
    "score",
    "vocab_layer_norm",
    "vocab_projector",
    "vocab_transform",
)

#: Heads under names that anything else may have, by how the architecture's name ends.
_HEADS_OF = {"ForSequenceClassification": "dense", "HF_ColBERT": "linear"}

#: What old releases stored although it follows from config.json.
_BUFFERS = (
    "attn.bias",
    "attn.masked_bias",
    "cos_cached",
    "inv_freq",
    "position_ids",
    "sin_cached",
    "token_type_ids",
)


def read_config(folder: Path, trust_remote_code: bool) -> Any:
    """Raises StartFailed for a type that transformers has not, unless its own code may run."""
    from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

    told, _ = PreTrainedConfig.get_config_dict(folder, local_files_only=True)
    model_type = told.get("model_type")
    native = model_type in CONFIG_MAPPING
    if not native and "AutoModel" not in told.get("auto_map", {}):
        problem = f"config.json has model_type {model_type!r}, which transformers does not know"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    if not native and not trust_remote_code:
        problem = f"config.json has model_type {model_type!r}, whose code comes with the model"
        remedy = "set spec.model.trustRemoteCode to run it, once you have read it"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; {remedy}")
    config = AutoConfig.from_pretrained(folder, trust_remote_code=not native, local_files_only=True)
    if config.get_text_config() is not config:
        problem = f"model_type {model_type!r} reads more than text; publish its text model alone"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    return config


def refuse_lengths(config: Any, max_tokens: int) -> None:
    """Rotary angles that depend on the longest text of a batch would change its batch mates' vectors."""
    for rope in _ropes(getattr(config, "rope_parameters", None) or {}):
        if rope.get("rope_type") in ("dynamic", "longrope"):
            told = rope.get("original_max_position_embeddings")
            most = told or config.max_position_embeddings
            if max_tokens > most:
                problem = f"beyond {most} tokens its rope_type {rope['rope_type']!r} lets a vector"
                remedy = f"set spec.recipe.maxTokens to at most {most}"
                raise StartFailed(
                    Reason.INVALID_RECIPE, f"{problem} depend on other texts; {remedy}"
                )


def refuse_positions(model: Any, max_tokens: int) -> None:
    """A text must not reach beyond the table of positions."""
    table = _position_table(model)
    if table is not None:
        most = table.num_embeddings - first_position(model)
        if max_tokens > most:
            problem = f"maxTokens is {max_tokens}, and the model has {most} positions"
            remedy = f"set spec.recipe.maxTokens to at most {most}"
            raise StartFailed(Reason.INVALID_RECIPE, f"{problem}; {remedy}")


def _ropes(parameters: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """The parameters, or those of each kind of layer."""
    return [parameters] if "rope_type" in parameters else parameters.values()


def open_model(folder: Path, config: Any, dtype: torch.dtype, trust_remote_code: bool) -> Any:
    """The model on the CPU, with weights for all of its parameters."""
    import transformers

    _quiet(transformers.logging)
    auto = _auto_class(config)
    try:
        model, report = auto.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            trust_remote_code=trust_remote_code and not _native(config),
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        problem = f"transformers cannot load {folder}: {error}"
        raise StartFailed(Reason.NO_USABLE_FILES, problem) from error
    _refuse_strange_weights(folder, model, report)
    if _native(config):
        prefix = f"{model.base_model_prefix}."
        refuse_unread(folder, config.to_dict(), report["unexpected_keys"], prefix)
    model.config.use_cache = False
    return model.eval().requires_grad_(False)


def _quiet(logging: Any) -> None:
    """What its reports tell of weights is checked here, and a bar is no line of a log."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _native(config: Any) -> bool:
    return type(config).__module__.startswith("transformers.")


def _auto_class(config: Any) -> Any:
    """The encoder alone, where the architecture has a decoder as well (T5)."""
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, AutoModel, AutoModelForTextEncoding

    if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        return AutoModelForTextEncoding
    if config.is_encoder_decoder:
        problem = f"model_type {config.model_type!r} has a decoder, and no encoder of its own"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    return AutoModel


def _refuse_strange_weights(folder: Path, model: Any, report: dict[str, Any]) -> None:
    """Another architecture under this one's name, as models with code of their own often are."""
    missing = sorted(n for n in report["missing_keys"] if not n.startswith("pooler."))
    layers = [name for name, part in model.named_modules() if isinstance(part, ModuleList)]
    extra = sorted(n for n in report["unexpected_keys"] if _within(layers, n))
    misfit = sorted(str(n) for n in report.get("mismatched_keys", ()))
    for what, names in (("lacks", missing), ("has besides", extra), ("has otherwise", misfit)):
        if names:
            problem = f"{folder} is no {model.config.model_type}: it {what} {names[0]}"
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise StartFailed(Reason.UNSUPPORTED_MODEL, problem + more)


def _within(layers: Sequence[str], name: str) -> bool:
    """Is it a parameter of the layers? Those of heads are not, nor are buffers of old releases."""
    inside = any(f".{part}." in f".{name}" for part in layers)
    return inside and not name.endswith(("inv_freq", "attn.bias", "attn.masked_bias"))


def refuse_unread(
    folder: Path, config: Mapping[str, Any], names: Iterable[str], prefix: str
) -> None:
    """Weights that the type has no use for, where code of the model's own may well have one.

    That code is not run where the type is known. Without any, no library reads them. names: of the weights
    that the body does not read; prefix: what stands before the base model's.
    """
    code = _own_code(config)
    if code is None:
        return
    built = next(iter(config.get("architectures") or ()), "")
    heads = (*_HEADS, *(head for ending, head in _HEADS_OF.items() if built.endswith(ending)))
    unread = sorted(n for n in names if not _known_beside(n.removeprefix(prefix), heads))
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        problem = f"{folder} has {unread[0]}{more}, which a {config['model_type']} does not read"
        why = f"config.json names code that may ({code}), and that is not run for this model_type"
        way = "give it a model_type of its own, for spec.model.trustRemoteCode to run it"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; {why}; {way}")


def _known_beside(name: str, heads: Sequence[str]) -> bool:
    return name.partition(".")[0] in heads or name.endswith(_BUFFERS)


def _own_code(config: Mapping[str, Any]) -> str | None:
    """What auto_map names for the base model, or for the architecture that was saved."""
    architectures = config.get("architectures") or ()
    for auto, path in (config.get("auto_map") or {}).items():
        saved = auto.startswith("AutoModelFor") and str(path).rpartition(".")[2] in architectures
        if auto == "AutoModel" or saved:
            return f"auto_map.{auto}: {path}"
    return None


def first_position(model: Any) -> int:
    """0, or padding index + 1 where the table of positions has a padding entry, as fairseq's have."""
    table = _position_table(model)
    return 0 if table is None or table.padding_idx is None else table.padding_idx + 1


def _position_table(model: Any) -> Embedding | None:
    """None where positions are angles or a bias."""
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    return table if isinstance(table, Embedding) else None
