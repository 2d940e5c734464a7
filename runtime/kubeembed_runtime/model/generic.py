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
from torch.nn.functional import cosine_similarity

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model import pretrained
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

#: A sliding window up to this long is checked by a text that is longer; beyond, that would cost seconds.
CHECKED_WINDOW = 128

#: Kinds of layers that ours computes, where a model tells them.
LAYERS = {"full_attention", "sliding_attention"}

#: Cosine of a sequence's hidden states, packed to alone, that counts as equal.
EQUAL = {torch.float32: 0.99999, torch.bfloat16: 0.995, torch.float16: 0.995}

#: Share by which a token's hidden state changes with a token that it sees, at least.
CHANGED = 1e-4

#: And how many times what rounding changes it by, where experts sum in another order.
ROUNDED = 3

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

    @property
    def padding(self) -> int | None:
        """The token that counts no position."""
        return self._first - 1 if self._first else None

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

    causal: False lets a decoder's tokens see both ways, where that can be; None leaves it to the model's own
    configuration. What came of it is told by `is_causal`.
    """
    config = pretrained.read_config(folder, trust_remote_code)
    if causal is not None and hasattr(config, "is_causal"):
        config.is_causal = causal
    pretrained.refuse_lengths(config, max_tokens)
    model = pretrained.open_model(folder, config, dtype, trust_remote_code).to(device)
    pretrained.refuse_positions(model, max_tokens)
    if not (getattr(config, "is_causal", True) if causal is None else causal):
        _see_both_ways(model)
    items = sample(words(model).shape[0], _checked(config))
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


@torch.inference_mode()
def is_causal(body: Packed | Padded) -> bool:
    """Is a token kept from seeing later ones? As it is computed, whatever a configuration says.

    Two texts that differ in all but their first token, each as the second of a batch: in batches of one
    shape a token that sees nothing else comes out equal, but for what the first text's is moved by as well.
    """
    one, other = sample(body.words.shape[0], (4, 4))
    changed = Item(ids=[*one.ids[:1], *other.ids[1:]])
    usual, moved = (body(batch([one, text], body.model.device)).float() for text in (one, changed))
    change = (moved - usual).norm(dim=-1) / usual.norm(dim=-1)  # (t,)
    rounding, seen = change[0], change[len(one.ids)]
    return not bool(seen > max(CHANGED, ROUNDED * float(rounding)))


def _see_both_ways(model: Any) -> None:
    """Lifts causality where there is any; other models' masks must not be told about it."""
    for module in model.modules():
        if getattr(module, "is_causal", False):
            module.is_causal = model.config.is_causal = False


def _bodies(model: Any) -> Iterable[Packed | Padded]:
    """What to try, the faster first. Each sets the model's attention as it needs it."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
    taken = inspect.signature(model.forward).parameters
    kinds = "token_type_ids" in taken and (getattr(model.config, "type_vocab_size", 0) or 0) > 1
    usual = model.config._attn_implementation
    known = LAYERS.issuperset(getattr(model.config, "layer_types", None) or ())
    if known and model.is_backend_compatible() and "position_ids" in taken:
        model.set_attn_implementation(NAME)
        yield Packed(model, first_position=pretrained.first_position(model), kinds=kinds)
        model.set_attn_implementation(usual)
    pad = getattr(model.config, "pad_token_id", None)
    yield Padded(model, pad=0 if pad is None else pad, kinds=kinds)


def _checked(config: Any) -> tuple[int, ...]:
    """Lengths; one of them longer than a short sliding window."""
    window = getattr(config, "sliding_window", None) or CHECKED_WINDOW + 1
    return (*CHECKED, window + 4) if window <= CHECKED_WINDOW else CHECKED


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
