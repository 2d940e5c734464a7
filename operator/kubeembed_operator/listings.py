"""What the pods of a model have under the names of adapters, as they told. Values alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubeembed_api.reasons import Reason
from kubeembed_operator.kinds import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a pod has under a name, and which folder it refused for it, with what it said.

    path: None where it has nothing. broken: it started with this one, and could not load it. missed: the
    folder that it did not find.
    """

    path: str | None = None
    broken: bool = False
    fingerprint: str | None = None
    refused: str | None = None
    missed: str | None = None
    error: str | None = None
    reason: Reason = Reason.ADAPTER_REFUSED

    def serves(self, path: str) -> bool:
        return self.path == path and not self.broken


#: By name, of one pod.
Listing = dict[str, Held]

#: (pod, name of an adapter) -> the golden vectors that are sent to it with the adapter, if there are any.
Golden = Callable[[Manifest, str], Mapping[str, Any] | None]


def identity(pod: Manifest) -> str:
    """A container that started anew has read adapters.json anew."""
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    restarts = sum(int(each.get("restartCount") or 0) for each in containers)
    return f"{pod['metadata']['uid']} {restarts}"
