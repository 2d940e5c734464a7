"""kopf: what is watched, and which model each event wakes. No logic.

Indexing is used as the gate that it is: kopf calls no event handler before every kind has been listed, so the
first pass over a model sees all of its children. There are no create, update or delete handlers, and so no
finalizers and no annotations of kopf's.
"""

from collections.abc import Callable
from typing import Any

import kopf

from kubeembed_operator.cluster import OURS
from kubeembed_operator.kinds import CHILDREN, CLAIM, MODEL, Key, Kind, Manifest
from kubeembed_operator.store import Store, caches_of, owners

#: Seconds. The API server ends a watch after so long, and kopf goes on where it was.
SERVER_TIMEOUT, CLIENT_TIMEOUT, CONNECT_TIMEOUT = 300, 310, 5
#: A silent stream is renewed after so long; the API server sends a bookmark each 60.
INACTIVITY_TIMEOUT = 75
#: kopf's own go up to 21 s, for which the operator would be blind after the API server is back.
ERROR_BACKOFFS = (0.2, 0.5, 1, 2, 2, 2, 2, 2, 2, 2)

Wake = Callable[[Key], None]


def registry(store: Store, wake: Wake) -> kopf.OperatorRegistry:
    """Handlers for the models and all kinds of children."""
    made = kopf.OperatorRegistry()
    kopf.on.login(registry=made, id="pod")(kopf.login_with_service_account)
    kopf.on.login(registry=made, id="kubeconfig")(kopf.login_with_kubeconfig)
    for kind in (MODEL, *CHILDREN):
        where: dict[str, Any] = {
            "group": kind.group,
            "version": kind.version,
            "plural": kind.plural,
            "registry": made,
        }
        kopf.index(**where, id=f"keep-{kind.plural}")(_keeper(store, kind))
        kopf.on.event(**where, id=f"wake-{kind.plural}")(_waker(store, kind, wake))
    return made


def settings() -> kopf.OperatorSettings:
    """kopf's settings: standalone, no scanning, no Events of its own, watches that end."""
    made = kopf.OperatorSettings()
    made.peering.standalone = True
    made.posting.enabled = False
    made.scanning.disabled = True
    made.watching.server_timeout = SERVER_TIMEOUT
    made.watching.client_timeout = CLIENT_TIMEOUT
    made.watching.connect_timeout = CONNECT_TIMEOUT
    made.watching.inactivity_timeout = INACTIVITY_TIMEOUT
    made.watching.label_selectors[_is_child] = OURS
    made.networking.error_backoffs = ERROR_BACKOFFS
    made.persistence.diffbase_storage = NoDiffs()
    return made


class NoDiffs(kopf.DiffBaseStorage):
    """Nothing here asks what changed, so no copy of each object is made to find out."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


def woken(store: Store, kind: Kind, manifest: Manifest) -> list[Key]:
    """The models, and caches, that have to be looked at after an event of `manifest`."""
    metadata = manifest["metadata"]
    if kind == MODEL:
        return [(metadata["namespace"], metadata["name"]), caches_of(metadata["namespace"])]
    if kind == CLAIM:
        return [*store.models_in(metadata["namespace"]), caches_of(metadata["namespace"])]
    return owners(kind, manifest)


def _keeper(store: Store, kind: Kind) -> Callable[..., Any]:
    async def keep(body: kopf.Body, **_: Any) -> None:
        store.hear(kind, dict(body))

    return keep


def _waker(store: Store, kind: Kind, wake: Wake) -> Callable[..., Any]:
    async def look(event: Any, **_: Any) -> None:
        manifest = event["object"]
        if event["type"] == "DELETED":
            store.heard[kind] += 1
            store.drop(kind, manifest)
        for key in woken(store, kind, manifest):
            wake(key)

    return look


def _is_child(resource: Any) -> bool:
    return bool(resource.plural != MODEL.plural)
