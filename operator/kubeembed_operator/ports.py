"""The gateway's port of each model that may sleep: no two Services have the same, and none is ever changed.

A port that came free is not soon another model's, because each begins to look at a place of its own:
somebody on the way may still send there what the old model was asked.
"""

import hashlib
from collections.abc import Iterator

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.errors import KubeEmbedError
from kubeembed_api.names import ACTIVATOR_PORT_ANNOTATION, ACTIVATOR_PORTS
from kubeembed_operator.kinds import MODEL, SERVICE, Key, Manifest
from kubeembed_operator.observed import controlled_by
from kubeembed_operator.store import Store


class NoPortLeft(KubeEmbedError):
    """As many models may sleep as there are ports."""


class ActivatorPorts:
    """What Services have, and what was given away and is not on its Service yet."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._given: dict[Key, int] = {}

    def of(self, model: EmbeddingModel) -> int | None:
        """None for a model that never could sleep. Raises NoPortLeft."""
        key = (model.namespace, model.name)
        service = self._store.get(SERVICE, key)
        if service is not None and not controlled_by(service, model.metadata.uid):
            service = None
        port = None if service is None else activator_port(service)
        if not model.spec.scaling.may_sleep:
            return port  # kept, because it is never changed
        if port is not None and not self._is_an_older_one_s(port, service):
            self._given.pop(key, None)
            return port
        return self._given.get(key) or self._give(key, model.metadata.uid)

    def _give(self, key: Key, uid: str) -> int:
        self._given = {k: p for k, p in self._given.items() if self._store.get(MODEL, k)}
        taken = {*self._given.values(), *(port for port, _ in self._ports())}
        begin = int(hashlib.sha256(uid.encode()).hexdigest(), 16)
        count = len(ACTIVATOR_PORTS)
        for step in range(count):
            port = ACTIVATOR_PORTS[(begin + step) % count]
            if port not in taken:
                self._given[key] = port
                return port
        raise NoPortLeft(f"{count} models may sleep, and there are no more ports: write min 1")

    def _is_an_older_one_s(self, port: int, service: Manifest | None) -> bool:
        """A Service that was copied with all its annotations: requests for one model would reach another."""
        others = [other for other_port, other in self._ports() if other_port == port]
        return service is not None and min(others, key=_age, default=service) is not service

    def _ports(self) -> Iterator[tuple[int, Manifest]]:
        for key in self._store.keys(SERVICE):
            service = self._store.get(SERVICE, key)
            port = None if service is None else activator_port(service)
            if service is not None and port is not None:
                yield port, service


def activator_port(service: Manifest) -> int | None:
    """What its annotation says, if that is a port of the gateway's."""
    told = (service["metadata"].get("annotations") or {}).get(ACTIVATOR_PORT_ANNOTATION) or ""
    port = int(told) if told.isdecimal() else 0
    return port if port in ACTIVATOR_PORTS else None


def _age(service: Manifest) -> tuple[str, str]:
    metadata = service["metadata"]
    return metadata.get("creationTimestamp") or "", metadata.get("uid") or ""
