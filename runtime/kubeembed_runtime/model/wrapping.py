"""The linear layers of a model of transformers, made to add what the adapters of the running batch add.

Each is wrapped once, at load, whatever adapters come: without them it costs one comparison. Which spans run
is told by the body, which the device thread alone calls.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kubeembed_runtime.model.adaptation import Adaptation, adaptation
from kubeembed_runtime.model.lora import Site, site
from kubeembed_runtime.model.packing import Batch, Span, batch
from kubeembed_runtime.requests import Item

#: Token ids of two sequences that show which layers read tokens. Every vocabulary has them.
_PROBE = ((0, 1, 2), (0, 1, 2, 0, 1))


class Body(Protocol):
    """A body over a model of transformers. spans: over the rows that the model sees now."""

    model: Any
    spans: tuple[Span, ...]

    def __call__(self, batch: Batch) -> Tensor: ...


class _Running:
    """The adaptation of the spans that run now, made once for all layers."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._spans: tuple[Span, ...] = ()
        self._made: Adaptation | None = None

    def adaptation(self, x: Tensor) -> Adaptation | None:
        spans = self._body.spans
        if spans is not self._spans:
            self._spans, self._made = spans, adaptation(spans, x)
        return self._made


class AdaptedLinear(nn.Linear):
    """A linear layer that knows its site. It is never built: `wrap` makes existing layers of this class."""

    running: _Running
    site: Site

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in); returns (..., out)."""
        y = super().forward(x)
        adapted = self.running.adaptation(x)
        if adapted is not None:
            rows = y.view(-1, y.shape[-1])
            adapted.add(rows, x.reshape(-1, x.shape[-1]), self.site)
        return y


def wrap(body: Body, *, packed: bool, left_out: frozenset[str] = frozenset()) -> list[Site]:
    """Wraps the linear layers of the body's model that adapters may change; returns their sites.

    packed: the rows of a layer are the batch's tokens, so one that reads anything else cannot be adapted; a
    padded body has one adapter at a time, for all rows. left_out: names of modules that are not on the way to
    the hidden states, such as a pooler.
    """
    running = _Running(body)
    sites = []
    for path, rows in _rows(body).items():
        if (packed and rows != {_tokens()}) or not left_out.isdisjoint(path.split(".")):
            continue
        module = body.model.get_submodule(path)
        module.__class__ = AdaptedLinear
        module.running, module.site = running, site(path, module.weight)
        sites.append(module.site)
    return sites


def _tokens() -> int:
    return sum(len(ids) for ids in _PROBE)


@torch.inference_mode()
def _rows(body: Body) -> dict[str, set[int]]:
    """The linear layers that are called, and with how many rows. A subclass computes something else."""
    seen: dict[str, set[int]] = {}

    def watch(path: str, module: nn.Module) -> Any:
        def look(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            seen.setdefault(path, set()).add(given[0].numel() // given[0].shape[-1])

        return module.register_forward_pre_hook(look)

    modules = [(path, one) for path, one in body.model.named_modules() if type(one) is nn.Linear]
    hooks = [watch(path, module) for path, module in modules]
    try:
        body(batch([Item(ids=ids) for ids in _PROBE], body.model.device))
    finally:
        for hook in hooks:
            hook.remove()
    return {path: seen[path] for path, _ in modules if path in seen}
