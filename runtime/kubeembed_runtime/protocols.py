"""A served model, as transport knows it: what the pipeline is, and what tests put in its place."""

from collections.abc import Sequence
from typing import Protocol

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.adapters import Adapters
from kubeembed_runtime.requests import (
    UNPROMPTED,
    Encoded,
    EncodeRequest,
    Prompting,
    Scored,
    ScoreRequest,
    Token,
)
from kubeembed_runtime.usage import Usage


class Model(Protocol):
    """A loaded model, as the contracts see it."""

    @property
    def info(self) -> RuntimeInfo: ...

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of those that may be asked for."""
        ...

    @property
    def registry(self) -> Adapters: ...

    @property
    def alive(self) -> bool:
        """False once a device thread has ended: nothing will be answered any more."""
        ...

    @property
    def usage(self) -> Usage:
        """Of the device, up to now."""
        ...

    async def encode(self, request: EncodeRequest) -> Encoded:
        """Raises RequestFailed."""
        ...

    async def score(self, request: ScoreRequest) -> Scored:
        """Raises RequestFailed."""
        ...

    async def tokenize(
        self, texts: Sequence[str], *, special: bool = True, prompting: Prompting = UNPROMPTED
    ) -> Sequence[Sequence[Token]]:
        """The tokens of each text, uncut. Raises RequestFailed."""
        ...

    async def decode(
        self, ids: Sequence[Sequence[int]], *, skip_special: bool = True
    ) -> Sequence[str]:
        """The text of each. Raises RequestFailed; InvalidInput for ids that the vocabulary lacks."""
        ...
