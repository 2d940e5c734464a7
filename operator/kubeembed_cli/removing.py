"""`kubeembed cache rm KEY`: have the operator remove a copy that no model uses, and wait until it is gone.

The claim's annotation asks for it. It is taken away once the copy is gone; where the command does not wait so
long, it stays, and the operator goes on.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kubeembed_api.cachenotes import asked_to_go, read_notes
from kubeembed_api.names import (
    COLLECT,
    COMPONENT,
    MANAGED_BY,
    MANAGED_BY_VALUE,
    NODE_CLAIM,
    REMOVE_ANNOTATION,
)
from kubeembed_api.podreasons import Manifest
from kubeembed_cli.cluster import Cluster
from kubeembed_cli.copies import Place
from kubeembed_cli.errors import CommandFailed, InUse, StillThere


def chosen(found: Sequence[Place], told: str, namespace: str) -> str:
    """The key that is meant, of which the beginning is enough. Raises CommandFailed."""
    keys = sorted({key for place in found for key in _keys(place)})
    meant = [key for key in keys if told and key.startswith(told)]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise CommandFailed(f"{told} is the beginning of {', '.join(meant)}: write more of it")
    if len(told) == 32 and any(place.unlisted[0] > 0 for place in found):
        return told
    here = ", ".join(keys) or "none"
    raise CommandFailed(f"there is no copy {told} in namespace {namespace}, which has {here}")


def targets(found: Sequence[Place], key: str) -> tuple[Place, ...]:
    """Where it is, or may be, and no model uses it. Raises InUse, CommandFailed."""
    free = [place for place in found if key not in place.users]
    there = [place for place in free if _may_be(place, key)]
    if there:
        return tuple(there)
    names = sorted({name for place in found for name in place.users.get(key, ())})
    if names:
        raise InUse(key, names)
    foreign = [place.claim for place in free if key in _keys(place)]
    if foreign:
        label = f"{MANAGED_BY}={MANAGED_BY_VALUE}"
        raise CommandFailed(
            f"claim {foreign[0]} is not KubeEmbed's to clear: label it {label} to have it cleared"
        )
    raise CommandFailed(f"{key} is not there any more")


def remove(
    cluster: Cluster,
    key: str,
    look: Callable[[], Sequence[Place]],
    waits: Iterable[None],
    tell: Callable[[str], None],
) -> tuple[Place, ...]:
    """Where it was. `waits` gives the pace, and ends when patience does.

    Raises InUse, StillThere, CommandFailed.
    """
    wanted, said = targets(look(), key), ""
    for name in _claims(wanted):
        _ask(cluster, name, key)
        tell(f"asked the operator to remove {key} from claim {name}")
    for _ in waits:
        if all(_gone(cluster, name, key) for name in _claims(wanted)):
            _withdraw(cluster, wanted, key)
            return wanted
        _check_unused(cluster, look(), wanted, key)
        state = _state(cluster, key)
        if state != said:
            tell(state)
        said = state
    raise StillThere(key, said)


def _may_be(place: Place, key: str) -> bool:
    return place.cleared and (key in _keys(place) or place.unlisted[0] > 0)


def _keys(place: Place) -> set[str]:
    return {copy.key for copy in place.copies}


def _claims(wanted: Sequence[Place]) -> list[str]:
    return sorted({place.claim for place in wanted})


def _ask(cluster: Cluster, name: str, key: str) -> None:
    claim = _claim(cluster, name)
    asked = asked_to_go(claim)
    if key not in asked:
        cluster.apply(_annotated(claim, asked | {key}))


def _withdraw(cluster: Cluster, wanted: Sequence[Place], key: str) -> None:
    for name in _claims(wanted):
        claim = _claim(cluster, name)
        cluster.apply(_annotated(claim, asked_to_go(claim) - {key}))


def _annotated(claim: Manifest, keys: frozenset[str]) -> Manifest:
    """With the uid, so that no claim is made where it went meanwhile."""
    metadata = {field: claim["metadata"][field] for field in ("name", "namespace", "uid")}
    told = {"annotations": {REMOVE_ANNOTATION: " ".join(sorted(keys))}} if keys else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {**metadata, **told},
    }


def _claim(cluster: Cluster, name: str) -> Manifest:
    claim = cluster.find("persistentvolumeclaims", name)
    if claim is None:
        raise CommandFailed(f"claim {name} is not there any more")
    return claim


def _gone(cluster: Cluster, name: str, key: str) -> bool:
    """Whether a collection that was told to remove it has left none. Nodes that are given up have no note."""
    notes = read_notes(_claim(cluster, name))
    if not notes and name != NODE_CLAIM:
        return False
    return all(
        key in note.asked and key not in {copy.key for copy in note.listed}
        for note in notes.values()
    )


def _check_unused(
    cluster: Cluster, found: Sequence[Place], wanted: Sequence[Place], key: str
) -> None:
    """Takes the wish back where a model has come to use it. Raises InUse."""
    names = {
        model
        for place in found
        if place.claim in _claims(wanted)
        for model in place.users.get(key, ())
    }
    if names:
        _withdraw(cluster, wanted, key)
        raise InUse(key, sorted(names))


def _state(cluster: Cluster, key: str) -> str:
    """Of the newest Job that was told to remove it."""
    jobs: list[dict[str, Any]] = cluster.list("jobs", labelSelector=f"{COMPONENT}={COLLECT}")
    told = [
        job for job in jobs if key in (job["metadata"]["annotations"].get(REMOVE_ANNOTATION) or "")
    ]
    if not told:
        return "waits for the operator"
    newest = max(told, key=lambda job: str(job["metadata"]["creationTimestamp"]))
    runs = bool((newest.get("status") or {}).get("active"))
    return f"Job {newest['metadata']['name']} {'runs' if runs else 'is made, or has ended'}"
