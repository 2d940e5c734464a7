"""A folder of weights -> its body: the family that is computed here, else what transformers loads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model import bert, devices, generic, limits
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.generic import Packed
from kubeembed_runtime.model.joining import by_architecture
from kubeembed_runtime.model.padded import Padded
from kubeembed_runtime.model.pretrained import refuse_unread
from kubeembed_runtime.model.recipes import Recipe

#: A packed batch -> hidden states (t, h). `words` are its word embeddings: (vocabulary, h).
Body = bert.Bert | Packed | Padded


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a body is made of. config: the folder's config.json."""

    folder: Path
    config: Mapping[str, Any]
    recipe: Recipe
    model: EmbeddingModel
    device: torch.device

    def build(self) -> tuple[Body, torch.dtype]:
        """In the precision that the document wants, or that is found best. Raises StartFailed."""
        return devices.build(
            devices.precision(
                self.model.spec.recipe.dtype,
                devices.look(self.device),
                self.config,
                self._gain_of_bfloat16,
            ),
            self._body,
            vocabulary=self.config.get("vocab_size", 0),
            device=self.device,
        )

    def _gain_of_bfloat16(self) -> float:
        width = limits.limits(self.config).width
        return devices.gain_of_bfloat16(width, self.config.get("intermediate_size", 4 * width))

    def _body(self, dtype: torch.dtype) -> Body:
        if bert.computes(self.config):
            self._refuse_unless(causal=False)
            with torch.inference_mode(), Checkpoint(self.folder, dtype, self.device) as weights:
                body = bert.Bert(weights, bert.shape(self.config))
                refuse_unread(self.folder, self.config, weights.left, weights.prefix)
                return body
        loaded = generic.load(
            self.folder,
            dtype=dtype,
            device=self.device,
            causal=None if self._assumed else self.recipe.causal.value,
            max_tokens=self.recipe.max_tokens.value,
            trust_remote_code=self.model.spec.model.trust_remote_code,
        )
        self._refuse_unless(causal=generic.is_causal(loaded))
        return loaded

    @property
    def _assumed(self) -> bool:
        """Is the direction of attention no more than what is usual for its type?"""
        return self.recipe.causal == by_architecture(self.config)

    def _refuse_unless(self, *, causal: bool) -> None:
        """The recipe must say what is computed: the wrong direction ruins vectors without any error."""
        told = self.recipe.causal
        if told.value is causal:
            return
        see = "do not see" if causal else "see"
        problem = f"the recipe's causal is {_written(told.value)} ({told.origin}), but tokens {see}"
        way = (
            "(true or false) as the model's card says"
            if self._assumed
            else f"to {_written(causal)}"
        )
        remedy = f"set spec.recipe.causal {way}"
        raise StartFailed(Reason.INVALID_RECIPE, f"{problem} later ones; {remedy}")


def _written(value: bool) -> str:
    """As YAML has it."""
    return str(value).lower()
