"""adapter_config.json -> what an adapter changes and by how much, by PEFT's own rules.

A field that asks for what is not computed here is an error that names it, and so is one that nobody here
knows, unless it is switched off. The fetch Job and the runtime refuse by the same rules.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeembed_api.errors import InvalidAdapter

CONFIG = "adapter_config.json"

#: Read below, or without effect on what is computed when serving. fan_in_fan_out is about how the base's
#: weight lies; lora_A and lora_B have one form.
_KNOWN = frozenset(
    (
        "alpha_pattern", "auto_mapping", "base_model_name_or_path", "ensure_weight_tying",
        "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights",
        "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout",
        "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern",
        "revision", "runtime_config", "target_modules", "task_type", "use_rslora",
    )
)  # fmt: skip

#: Ways to begin that leave the base's weights as they are. The others (pissa, olora, loftq, ...) change them.
_INITS = (None, True, False, "gaussian", "eva", "orthogonal")

_REMEDIES = {
    "modules_to_save": "train with task_type FEATURE_EXTRACTION, or merge the adapter into the base",
    "init_lora_weights": "convert it when saving (path_initial_model_for_weight_conversion)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PeftConfig:
    """What is needed of the file. target_modules: names, or a pattern of whole paths."""

    base: str | None
    r: int
    alpha: float
    rslora: bool
    targets: str | Sequence[str]
    excluded: str | Sequence[str]
    layers: Sequence[int]
    layer_lists: Sequence[str]
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]

    @property
    def selection(self) -> str:
        """For messages."""
        told = self.targets if isinstance(self.targets, str) else ", ".join(sorted(self.targets))
        return f"{told} in layers {list(self.layers)}" if self.layers else told

    def selects(self, path: str) -> bool:
        """Does PEFT put an adapter at this module?"""
        if self.excluded and _named(self.excluded, path):
            return False
        if self.targets == "all-linear":
            return True
        if not _named(self.targets, path):
            return False
        if isinstance(self.targets, str) or path in self.targets or not self.layers:
            return True
        return self._layer(path) in self.layers

    def _layer(self, path: str) -> int | None:
        """The first number that stands in one of the lists of layers, or in any if none is named."""
        patterns = [rf"(?:^|.*?\.){name}\.(\d+)\." for name in self.layer_lists]
        found = (re.match(pattern, path) for pattern in patterns or [r".*?\.[^.]*\.(\d+)\."])
        match = next((match for match in found if match), None)
        return int(match[1]) if match else None

    def rank(self, path: str) -> int:
        return self.ranks.get(_pattern(self.ranks, path), self.r)

    def scale(self, path: str) -> float:
        """What the product is multiplied with."""
        alpha, rank = self.alphas.get(_pattern(self.alphas, path), self.alpha), self.rank(path)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def _named(names: str | Sequence[str], path: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, path) is not None
    return any(path == name or path.endswith(f".{name}") for name in names)


def _pattern(patterns: Mapping[str, object], path: str) -> str:
    """The first pattern that the end of the path matches, or the path."""
    return next((p for p in patterns if re.match(rf"(.*\.)?({p})$", path)), path)


def read_config(folder: Path) -> tuple[PeftConfig, bytes]:
    """The configuration, and the file's content. Raises InvalidAdapter."""
    try:
        content = (folder / CONFIG).read_bytes()
        told = json.loads(content)
        if not isinstance(told, dict):
            raise InvalidAdapter(f"{CONFIG} in {folder} is no object")
        _refuse(told)
        return _config(told), content
    except FileNotFoundError as error:
        problem = f"{folder} has no {CONFIG}"
        raise InvalidAdapter(
            f"{problem}; write a folder as PEFT's save_pretrained leaves it"
        ) from error
    except OSError as error:
        raise InvalidAdapter(f"{folder / CONFIG} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError, re.error) as error:
        raise InvalidAdapter(f"{CONFIG} in {folder} cannot be read: {error}") from error


def _refuse(told: Mapping[str, Any]) -> None:
    """Raises InvalidAdapter, naming the field and its value."""
    if told.get("peft_type") != "LORA":
        raise _refused("peft_type", told.get("peft_type"), "LORA")
    if told.get("bias") not in (None, "none"):
        raise _refused("bias", told["bias"], "none")
    if told.get("init_lora_weights", True) not in _INITS:
        raise _refused("init_lora_weights", told["init_lora_weights"], "true, false, gaussian")
    for field, value in told.items():
        if field not in (*_KNOWN, "bias") and value not in (None, False, [], {}, ""):
            raise _refused(field, value, "false" if value is True else "none")
    if not told.get("target_modules"):
        raise InvalidAdapter(f"{CONFIG} has no target_modules: it targets nothing")


def _refused(field: str, value: object, supported: str) -> InvalidAdapter:
    problem = f"{CONFIG} has {field} {json.dumps(value)}; supported: {supported}"
    remedy = _REMEDIES.get(field)
    return InvalidAdapter(f"{problem}; {remedy}" if remedy else problem)


def _config(told: Mapping[str, Any]) -> PeftConfig:
    layers, lists = told.get("layers_to_transform"), told.get("layers_pattern")
    config = PeftConfig(
        base=told.get("base_model_name_or_path"),
        r=_positive("r", told.get("r", 8)),
        alpha=_number("lora_alpha", told.get("lora_alpha", 8)),
        rslora=bool(told.get("use_rslora")),
        targets=told["target_modules"],
        excluded=told.get("exclude_modules") or (),
        layers=[layers] if isinstance(layers, int) else layers or (),
        layer_lists=[lists] if isinstance(lists, str) else lists or (),
        ranks={p: _positive("r", r) for p, r in (told.get("rank_pattern") or {}).items()},
        alphas={
            p: _number("alpha_pattern", a) for p, a in (told.get("alpha_pattern") or {}).items()
        },
    )
    patterns = [*config.ranks, *config.alphas, *config.layer_lists]
    wholes = [one for one in (config.targets, config.excluded) if isinstance(one, str)]
    for pattern in [*patterns, *wholes]:
        re.compile(pattern)
    return config


def _positive(field: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _refused(field, value, "a whole number above 0")
    return value


def _number(field: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _refused(field, value, "a number")
    return float(value)
