"""An adapter's two files -> can it be served at all?

Without torch, so that the fetch Job says it before any pod sees the adapter. Whether it fits the layers of
the base is for the runtime to say, which has them.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubeembed_api.errors import InvalidAdapter
from kubeembed_api.peft_config import PeftConfig, read_config
from kubeembed_api.peft_tensors import WEIGHTS, lora_modules
from kubeembed_api.reasons import Reason
from kubeembed_weights.errors import FetchError

#: As safetensors spells what the runtime reads.
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}

#: Of the header, as safetensors itself bounds it.
HEADER_BYTES = 100_000_000

Tensors = Mapping[str, Mapping[str, Any]]


def check_adapter(folder: Path) -> None:
    """Raises FetchError AdapterRefused, naming the file and the field or tensor."""
    try:
        config, _ = read_config(folder)
        tensors = read_header(folder / WEIGHTS)
        for path, sides in lora_modules(tensors).items():
            _check_pair(config, path, {side: tensors[name] for side, name in sides.items()})
    except InvalidAdapter as error:
        raise FetchError(Reason.ADAPTER_REFUSED, str(error)) from error


def read_header(path: Path) -> Tensors:
    """{tensor: {"dtype", "shape", "data_offsets"}} of a safetensors file. Raises InvalidAdapter, OSError."""
    with path.open("rb") as file:
        head = file.read(8)
        size = struct.unpack("<Q", head)[0] if len(head) == 8 else HEADER_BYTES
        told = file.read(size) if size < HEADER_BYTES else b""
    try:
        tensors: dict[str, dict[str, Any]] = json.loads(told)
        tensors.pop("__metadata__", None)
        whole = 8 + size + max((each["data_offsets"][1] for each in tensors.values()), default=0)
        shapes = [(each["dtype"], tuple(each["shape"])) for each in tensors.values()]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise InvalidAdapter(f"{WEIGHTS} is no safetensors file") from error
    if path.stat().st_size != whole or not shapes:
        found = f"{path.stat().st_size} bytes with {len(shapes)} tensors"
        raise InvalidAdapter(f"{WEIGHTS} is not whole: {found}, its header tells {whole} bytes")
    return tensors


def _check_pair(config: PeftConfig, path: str, sides: Tensors) -> None:
    for side, tensor in sides.items():
        if tensor["dtype"] not in DTYPES:
            problem = f"lora_{side} of {path} is {tensor['dtype']}"
            raise InvalidAdapter(f"{problem}; supported: {', '.join(DTYPES.values())}")
    down, up = tuple(sides["A"]["shape"]), tuple(sides["B"]["shape"])
    rank = config.rank(path)
    if len(down) != 2 or len(up) != 2 or (down[0], up[1]) != (rank, rank):
        found = f"{path} has lora_A {down} and lora_B {up}"
        raise InvalidAdapter(f"{found}; at rank {rank} they are ({rank}, in) and (out, {rank})")
