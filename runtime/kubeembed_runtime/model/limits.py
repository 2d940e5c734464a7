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

#: Model types whose attention is causal as transformers has it.
DECODERS = (
    "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "granite", "llama", "mistral", "olmo2",
    "phi", "phi3", "qwen2", "qwen3", "smollm3",
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
    """Raises StartFailed where config.json tells no width."""
    text = config.get("text_config") or config
    width = next((text[key] for key in _WIDTHS if text.get(key)), None)
    if width is None:
        problem = f"config.json tells no width: none of {', '.join(_WIDTHS)}"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    positions = next((text[key] for key in _POSITIONS if text.get(key)), None)
    if positions is not None and config.get("model_type") in OFFSET_POSITIONS:
        positions -= text.get("pad_token_id", 1) + 1
    return Limits(width=width, positions=positions)


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
