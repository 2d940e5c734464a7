"""The LoRA adapters of a model, as transport and scheduling know them."""

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kubeembed_api.reasons import Reason


class Adapter(Protocol):
    """A loaded LoRA adapter. Whoever holds the value can use it, also after it was replaced or removed."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """That of the vectors which it makes of the base."""
        ...

    @property
    def base(self) -> str | None:
        """The model that it was trained on, as its files say."""
        ...

    @property
    def bytes(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldGolden:
    """Golden vectors that come with an adapter: lines as a file of them has; none where it has none."""

    lines: str
    min_cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterState:
    """An adapter that requests may name. `loaded` is None while its tensors are not in memory.

    problem, reason: why it could not be loaded when it was last tried.
    """

    name: str
    folder: Path
    loaded: Adapter | None
    problem: str | None = None
    reason: Reason | None = None


class Adapters(Protocol):
    """The adapters of a model. From any thread; changes happen one after another."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def states(self) -> tuple[AdapterState, ...]: ...

    def find(self, name: str) -> "Adapter | Future[Adapter]":
        """At once where it is loaded. Raises UnknownModel; the future raises AdapterRefused."""
        ...

    def declare(self, name: str, folder: Path) -> None:
        """As `put`, but it is loaded when it is first asked for, and refused then."""
        ...

    def put(self, name: str, folder: Path, golden: ToldGolden | None = None) -> "Future[Adapter]":
        """Loads and declares it, in the place of one of its name. golden: what its vectors have to be; None:
        what this process was started with says. The future raises AdapterRefused."""
        ...

    def remove(self, name: str) -> "Future[None]":
        """The future raises UnknownModel."""
        ...
