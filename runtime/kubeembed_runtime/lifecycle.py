"""Where this process is in its life: loading, ready or draining. The ports answer by it.

Readiness and liveness are kept apart: a slow load or a full queue is never a reason to be killed, a dead
device thread is.
"""

import logging
import time
from enum import StrEnum

from kubeembed_api.report import Load
from kubeembed_runtime.errors import Loading, UnknownModel
from kubeembed_runtime.protocols import Model
from kubeembed_runtime.traffic import Traffic

logger = logging.getLogger(__name__)

#: What a caller is told to wait while the model loads: MiniLM takes 4 s, a 2 GB model about 10.
LOADING_RETRY_SECONDS = 2.0


class Phase(StrEnum):
    """Loading -> Ready -> Draining. A load that fails ends the process."""

    LOADING = "Loading"
    READY = "Ready"
    DRAINING = "Draining"


class Lifecycle:
    """One served model, from before its weights are read until the last answer is out.

    namespace: requests may put it before the name, as the gateway has them do where two namespaces have a
    model of one name.
    """

    def __init__(self, name: str, namespace: str = "") -> None:
        self.name = name
        self.namespace = namespace
        self.created = int(time.time())
        self.phase = Phase.LOADING
        self.traffic = Traffic()
        self._begun = time.monotonic()
        self._model: Model | None = None

    def ready(self, model: Model) -> None:
        self._model = model
        self.traffic.ready()
        self._enter(Phase.READY)

    def drain(self) -> None:
        self._enter(Phase.DRAINING)

    def _enter(self, phase: Phase) -> None:
        logger.info("%s: %s", self.name, phase)
        self.phase = phase

    @property
    def model(self) -> Model:
        """Raises Loading until there is one. A draining model still serves what arrives."""
        if self._model is None:
            raise Loading(self.name, LOADING_RETRY_SECONDS)
        return self._model

    @property
    def loaded(self) -> bool:
        return self._model is not None

    @property
    def load(self) -> Load:
        """What /load answers. Raises Loading until there is a model."""
        usage = self.model.usage
        return Load(
            busy_seconds=usage.busy_seconds,
            queued_tokens=usage.queued_tokens,
            in_flight=self.traffic.in_flight,
            tokens=usage.tokens,
            idle_seconds=self.traffic.idle_seconds,
            up_seconds=time.monotonic() - self._begun,
        )

    @property
    def alive(self) -> bool:
        """False if a restart is the only way out."""
        return self._model is None or self._model.alive

    @property
    def names(self) -> tuple[str, ...]:
        """What a request may ask for: the model, and `model:adapter` for each adapter."""
        adapters = self._model.adapters if self._model is not None else ()
        return (self.name, *(f"{self.name}:{adapter}" for adapter in adapters))

    def adapter(self, asked: str) -> str | None:
        """The adapter that a model name asks for. Raises UnknownModel, and Loading."""
        name, colon, adapter = asked.removeprefix(f"{self.namespace}/").partition(":")
        if name != self.name or (colon and not adapter):
            raise UnknownModel(asked, self.names)
        if adapter and adapter not in self.model.adapters:
            raise UnknownModel(asked, self.names)
        return adapter or None
