"""The names of the tensors in adapter_model.safetensors -> the modules that an adapter changes.

Whatever is none of LoRA's two matrices would change vectors and is not computed here: it is refused by name.
"""

import re
from collections.abc import Iterable
from typing import Final

from kubeembed_api.errors import InvalidAdapter

WEIGHTS: Final = "adapter_model.safetensors"

#: A tensor's name: the module, which of its two matrices, and the adapter's name where it was left in.
_KEY = re.compile(r"(?P<path>.+)\.lora_(?P<side>[AB])(\.[^.]+)?\.weight")

#: Parts of a name that tell what a tensor is that is none of LoRA's two matrices.
_OTHERS = {
    "lora_embedding_": "embedding LoRA",
    "lora_magnitude_vector": "DoRA",
    ".bias": "a bias",
}


def lora_modules(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """{module: {"A": name, "B": name}}, PEFT's prefix taken off the module. Raises InvalidAdapter."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        match = _KEY.fullmatch(name)
        if match is None:
            what = next((told for part, told in _OTHERS.items() if part in name), "no LoRA matrix")
            raise InvalidAdapter(
                f"{WEIGHTS} has {name}, which is {what}; supported: lora_A, lora_B"
            )
        sides = found.setdefault(match["path"].removeprefix("base_model.model."), {})
        if match["side"] in sides:
            raise InvalidAdapter(f"{WEIGHTS} has lora_{match['side']} of {match['path']} twice")
        sides[match["side"]] = name
    for path, sides in found.items():
        if len(sides) < 2:
            raise InvalidAdapter(f"{WEIGHTS} has lora_{next(iter(sides))} of {path} alone")
    return found
