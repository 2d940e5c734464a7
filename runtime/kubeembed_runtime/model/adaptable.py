"""An encoder -> its adapters: which of its layers they may change, and how one is loaded for it."""

import logging
import re
from pathlib import Path

import torch

from kubeembed_api.spec import AdapterOptions
from kubeembed_runtime.errors import AdapterRefused
from kubeembed_runtime.model import peft
from kubeembed_runtime.model.adapters import LoraAdapters
from kubeembed_runtime.model.bert import Bert
from kubeembed_runtime.model.encoder import Encoder
from kubeembed_runtime.model.fingerprint import adapted
from kubeembed_runtime.model.generic import Packed
from kubeembed_runtime.model.lora import TILE, LoraAdapter, Site, lora_adapter
from kubeembed_runtime.model.padded import Padded
from kubeembed_runtime.model.wrapping import wrap

logger = logging.getLogger(__name__)

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")

#: What all loaded adapters may take, by device. One of rank 8 on bge-base's queries and values has 0.6 MB in
#: 16 bits.
MAX_BYTES = {"cpu": 512 * 2**20, "cuda": 2 * 2**30}


def adapters_of(
    encoder: Encoder,
    *,
    model: str,
    fingerprint: str,
    max_loaded: int = AdapterOptions().max_loaded,
    base: str | None = None,
) -> LoraAdapters:
    """Those of a loaded encoder, none yet.

    model: its name; fingerprint: that of its own vectors; max_loaded: of them in memory at once; base: its
    repository, where it has one.
    """
    sites, idle = _sites(encoder)
    dtype: torch.dtype = getattr(torch, encoder.dtype)
    bound = MAX_BYTES[encoder.device.type]

    def load(name: str, folder: Path) -> LoraAdapter:
        tuned = peft.read(folder, sites, idle=idle, max_bytes=bound)
        if base and tuned.base and _REPOSITORY.fullmatch(tuned.base) and tuned.base != base:
            logger.warning("adapter %s was trained on %s, and this is %s", name, tuned.base, base)
        adapter = lora_adapter(
            tuned.pairs,
            sites,
            name=name,
            fingerprint=adapted(fingerprint, tuned.digest),
            base=tuned.base,
            dtype=dtype,
            device=encoder.device,
            alignment=TILE if encoder.device.type == "cuda" else 1,
        )
        if not bool(torch.isfinite(adapter.flat).all()):
            raise AdapterRefused(f"it has values that {encoder.dtype} cannot hold")
        return adapter

    return LoraAdapters(load, model=model, max_bytes=bound, max_loaded=max_loaded)


def _sites(encoder: Encoder) -> tuple[tuple[Site, ...], frozenset[str]]:
    """What adapters may change, and the modules that they may name without effect.

    A pooler is no part of an embedding. A cross-encoder's head may read it, and heads are not adapted.
    """
    idle = frozenset() if "score" in encoder.heads else frozenset({"pooler"})
    body = encoder.body
    if isinstance(body, Bert):
        return body.sites, idle
    assert isinstance(body, Packed | Padded)
    return tuple(wrap(body, packed=isinstance(body, Packed), left_out=frozenset({"pooler"}))), idle
