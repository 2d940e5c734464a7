"""config.json -> what an architecture itself allows: its width, tokens with a position, names of its labels.

Read here and not from a built model, so that a recipe can be printed without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.files import read_json

#: Model types that count positions from their padding index + 1, as fairseq did.
OFFSET_POSITIONS = ("camembert", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl")

#: Model types whose attention knows distances alone, whatever length they tell of their training.
RELATIVE_POSITIONS = ("longt5", "mt5", "switch_transformers", "t5", "umt5")

#: Model types that are causal as transformers has them. One that lacks here is found out at load.
DECODERS = (
    "afmoe", "apertus", "arcee", "axk1", "bailing_hybrid", "bamba", "beam", "biogpt", "bitnet",
    "bloom", "codegen", "cohere", "cohere2", "cohere2_moe", "ctrl", "cwm", "deepseek_v2",
    "deepseek_v3", "deepseek_v4", "diffllama", "doge", "dots1", "ernie4_5", "ernie4_5_moe",
    "exaone4", "exaone_moe", "falcon", "falcon_h1", "falcon_mamba", "flex_olmo", "flint", "gemma",
    "gemma2", "gemma3_text", "glm", "glm4", "glm4_moe", "glm4_moe_lite", "gpt-sw3", "gpt2",
    "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_neox_japanese", "gpt_oss", "gptj", "granite",
    "granite_swa", "granitemoe", "granitemoe_swa", "granitemoehybrid", "granitemoeshared",
    "helium", "hrm_text", "hunyuan_v1_dense", "hunyuan_v1_moe", "hy_v3", "hy_v4", "hyperclovax",
    "inkling2_text", "inkling_text", "internlm3", "iquestcoder", "jais2", "jamba", "jetmoe",
    "kimi_linear", "kolibri1", "laguna", "lfm2", "lfm2_moe", "lfm3", "llama", "llama4_text",
    "longcat_flash", "mamba", "mamba2", "mellum", "mimo_v2_flash", "minicpm3", "minimax",
    "minimax_m2", "minimax_m3_vl_text", "ministral", "ministral3", "mistral", "mixtral",
    "modernbert-decoder", "mpt", "nanochat", "nemotron", "nemotron_h", "olmo", "olmo2", "olmo3",
    "olmo_hybrid", "olmoe", "openai-gpt", "opt", "persimmon", "phi", "phi3", "phimoe", "qwen2",
    "qwen2_moe", "qwen3", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_moe", "qwen3_next",
    "qwen4_exp_text", "recurrent_gemma", "rwkv", "seed_oss", "smollm3", "solar_open", "stablelm",
    "starcoder2", "vaultgemma", "xglm", "youtu",
)  # fmt: skip

_WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_trained_positions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """width: of a hidden state. positions: tokens with one; None where any number has (T5)."""

    width: int
    positions: int | None


def read_config(folder: Path) -> Mapping[str, Any]:
    """config.json. Raises StartFailed."""
    return read_json(folder / "config.json")


def limits(config: Mapping[str, Any]) -> Limits:
    """Raises StartFailed where config.json tells no width, or not where positions begin."""
    text = config.get("text_config") or config
    width = next((text[key] for key in _WIDTHS if text.get(key)), None)
    if width is None:
        problem = f"config.json tells no width: none of {', '.join(_WIDTHS)}"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    return Limits(width=width, positions=_positions(config.get("model_type"), text))


def _positions(model_type: str | None, text: Mapping[str, Any]) -> int | None:
    if model_type in RELATIVE_POSITIONS:
        return None
    positions: int | None = next((text[key] for key in _POSITIONS if text.get(key)), None)
    if positions is None or model_type not in OFFSET_POSITIONS:
        return positions
    return positions - (padding(text) + 1)


def own_code(config: Mapping[str, Any]) -> str | None:
    """The class of the model's own that config.json names for it; None where it names none."""
    named: str | None = (config.get("auto_map") or {}).get("AutoModel")
    return named


def padding(config: Mapping[str, Any]) -> int:
    """The id from whose number on positions count, as fairseq did. Raises StartFailed."""
    found = config.get("pad_token_id", 1)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        problem = f"config.json has pad_token_id {found!r}"
        known = "the id of a token, after which positions count"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; supported: {known}")
    return found


def labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a classifier's labels, in their order; none where config.json has none."""
    named = config.get("id2label") or {}
    return tuple(str(named[place]) for place in sorted(named, key=int))


def causal(config: Mapping[str, Any]) -> bool:
    """Does the architecture, unless told otherwise, keep a token from seeing later ones?"""
    text = config.get("text_config") or config
    if text.get("model_type") in DECODERS:
        return True
    return any(name.endswith("ForCausalLM") for name in config.get("architectures") or ())
