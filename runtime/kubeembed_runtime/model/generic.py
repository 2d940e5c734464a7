"""Everything that transformers loads as an encoder, over packed sequences.

The model's code stays transformers' own: it gets (1, tokens) ids with positions that begin anew in each
sequence, and its attention is ours, registered by name. Whether an architecture really bears that is not
guessed: at load a few sequences run packed and one by one, and must come out equal. What does not is tried
padded, and what fails there too is not served.
"""

import inspect
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import ModuleList
from torch.nn.functional import cosine_similarity

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.attention import Mask, attention
from kubeembed_runtime.model.devices import sample
from kubeembed_runtime.model.packing import Batch, Packing, Span, batch
from kubeembed_runtime.model.padded import Padded, words
from kubeembed_runtime.requests import Item

logger = logging.getLogger(__name__)

#: Our attention's name in transformers' registry. It is not registered for masks, so none is built.
NAME = "kubeembed_packed"

#: Lengths of the sequences that are compared at load: two alike, one that is padded beside them, and others.
CHECKED = (3, 7, 7, 8, 16)

#: Cosine of a sequence's hidden states, packed to alone, that counts as equal.
EQUAL = {torch.float32: 0.99999, torch.bfloat16: 0.995, torch.float16: 0.995}

#: Parts of attention that ours does not compute, by the keyword that a model passes.
NOT_COMPUTED = ("softcap", "position_bias", "s_aux")


class Packed:
    """A body over a model of transformers. `spans` are those of the batch that the model sees now."""

    def __init__(self, model: Any, *, first_position: int, kinds: bool) -> None:
        """kinds: does the model read token types?"""
        self.model, self._first, self._kinds = model, first_position, kinds
        self.spans: tuple[Span, ...] = ()

    @property
    def words(self) -> Tensor:
        """The word embeddings: (vocabulary, h)."""
        return words(self.model)

    def __call__(self, batch: Batch) -> Tensor:
        """Returns (t, h)."""
        kinds = {}
        if self._kinds and batch.kinds is not None:
            kinds["token_type_ids"] = batch.kinds[None]
        self.spans = batch.spans
        states = self.model(
            input_ids=batch.ids[None],
            position_ids=(batch.positions + self._first)[None],
            packing=batch.packing,
            **kinds,
        )
        hidden: Tensor = states[0][0]  # (1, t, h) -> (t, h)
        return hidden


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it. query: (1, heads, t, d); returns (1, t, heads, d)."""
    for name in NOT_COMPUTED:
        if others.get(name) is not None:
            raise NotImplementedError(f"its attention has a {name}")
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # (t, heads, d)
    reach = None if sliding_window is None else sliding_window - 1
    mask = Mask(causal=bool(getattr(module, "is_causal", False)), reach=reach)
    mixed = attention(q, k, v, packing, mask, scaling)
    return mixed.view(1, q.shape[0], q.shape[1], -1), None


def load(
    folder: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    causal: bool | None,
    max_tokens: int,
    trust_remote_code: bool,
) -> Packed | Padded:
    """The encoder in `folder`. Raises StartFailed: UnsupportedModel, NoUsableFiles or InvalidRecipe.

    causal: False lets a decoder's tokens see both ways; None leaves it to the model's own configuration.
    """
    config = _config(folder, trust_remote_code)
    _refuse_lengths(config, max_tokens)
    model = _open(folder, config, dtype, trust_remote_code).to(device)
    if not (getattr(config, "is_causal", True) if causal is None else causal):
        _see_both_ways(model)
    items = sample(words(model).shape[0], CHECKED)
    alone = _one_by_one(model, items)
    begun, findings = time.monotonic(), []
    for body in _bodies(model):
        found = _difference(body, model, items, alone)
        if found is None:
            how = type(body).__name__.lower()
            seconds = time.monotonic() - begun
            logger.info("%s runs %s, checked in %.2f s", config.model_type, how, seconds)
            return body
        findings.append(f"{type(body).__name__.lower()}: {found}")
    problem = f"model_type {config.model_type!r} cannot be batched here ({'; '.join(findings)})"
    raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)


def _config(folder: Path, trust_remote_code: bool) -> Any:
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


def _refuse_lengths(config: Any, max_tokens: int) -> None:
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


def _ropes(parameters: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """The parameters, or those of each kind of layer."""
    return [parameters] if "rope_type" in parameters else parameters.values()


def _open(folder: Path, config: Any, dtype: torch.dtype, trust_remote_code: bool) -> Any:
    """The model on the CPU, with weights for all of its parameters."""
    import transformers

    transformers.AttentionInterface.register(NAME, packed_attention)
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


def _see_both_ways(model: Any) -> None:
    """Lifts causality where there is any; other models' masks must not be told about it."""
    for module in model.modules():
        if getattr(module, "is_causal", False):
            module.is_causal = model.config.is_causal = False


def _bodies(model: Any) -> Iterable[Packed | Padded]:
    """What to try, the faster first. Each sets the model's attention as it needs it."""
    taken = inspect.signature(model.forward).parameters
    kinds = "token_type_ids" in taken and (getattr(model.config, "type_vocab_size", 0) or 0) > 1
    usual = model.config._attn_implementation
    if model.is_backend_compatible() and "position_ids" in taken:
        model.set_attn_implementation(NAME)
        yield Packed(model, first_position=_first_position(model), kinds=kinds)
        model.set_attn_implementation(usual)
    pad = getattr(model.config, "pad_token_id", None)
    yield Padded(model, pad=0 if pad is None else pad, kinds=kinds)


def _first_position(model: Any) -> int:
    """0, or padding index + 1 where the table of positions has a padding entry, as fairseq's have."""
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


@torch.inference_mode()
def _one_by_one(model: Any, items: Sequence[Item]) -> Tensor:
    """The hidden states (t, h) of all, as transformers itself computes each."""
    given = [torch.tensor([item.ids], device=model.device) for item in items]
    return torch.cat([model(input_ids=ids)[0][0] for ids in given])


@torch.inference_mode()
def _difference(
    body: Callable[[Batch], Tensor],
    model: Any,
    items: Sequence[Item],
    alone: Tensor,
) -> str | None:
    """How the batch differs from its sequences alone, or None where it does not."""
    try:
        hidden = body(batch(items, model.device))
    except (TypeError, NotImplementedError, RuntimeError, IndexError) as error:
        return str(error).splitlines()[0]
    worst = float(cosine_similarity(hidden.float(), alone.float(), -1).min())
    if worst >= EQUAL[hidden.dtype]:
        return None
    return f"a text's hidden states depend on its batch, cosine {worst:.4f}"
