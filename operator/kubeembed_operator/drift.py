"""Does a live object differ from the wanted one in a field that we set? Pure.

Fields that we do not set are others' business: defaults, a scaler's replicas, `kubectl rollout restart`.
The comparison follows server-side apply, so that what it calls different is what an apply would change.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.metadata import stamp
from kubeembed_operator.quantities import parse_quantity

#: Maps that an apply replaces as a whole: a key that somebody added is a difference.
ATOMIC = frozenset({"selector", "matchLabels", "nodeSelector"})

#: Lists that an apply replaces with all that is in them: a field that somebody added is a difference.
EXACT = frozenset({"ingress"})

#: Maps whose values are quantities, which the API server may spell in another way.
QUANTITIES = frozenset({"limits", "requests"})

#: By which field the entries of a list are one and the same; where a list is not named here, by `name`.
LIST_KEYS: Mapping[str, str] = {
    "ownerReferences": "uid",
    "topologySpreadConstraints": "topologyKey",
    "volumeMounts": "mountPath",
}

Path = tuple[str, ...]


def differs(wanted: Manifest, live: Manifest) -> bool:
    """Whether `wanted`, which is stamped, has to be applied over `live`."""
    return stamp(wanted) != stamp(live) or difference(wanted, live) is not None


def difference(wanted: Manifest, live: Manifest) -> str | None:
    """The dotted path of the first field that is not as wanted, for the log."""
    found = next(_differences(wanted, live, ()), None)
    return None if found is None else ".".join(found)


def _differences(wanted: Any, live: Any, path: Path) -> Iterator[Path]:
    if path and path[-1] in EXACT:
        if wanted != live:
            yield path
    elif isinstance(wanted, Mapping) and isinstance(live, Mapping):
        yield from _in_map(wanted, live, path)
    elif isinstance(wanted, list) and isinstance(live, list):
        yield from _in_list(wanted, live, path)
    elif not _equal(wanted, live, path):
        yield path


def _in_map(wanted: Mapping[str, Any], live: Mapping[str, Any], path: Path) -> Iterator[Path]:
    if path and path[-1] in ATOMIC and wanted.keys() != live.keys():
        yield path
    for field, value in wanted.items():
        if field in live:
            yield from _differences(value, live[field], (*path, field))
        elif not _empty(value):
            yield (*path, field)


def _in_list(wanted: Sequence[Any], live: Sequence[Any], path: Path) -> Iterator[Path]:
    key = LIST_KEYS.get(path[-1] if path else "", "name")
    if not all(isinstance(entry, Mapping) and key in entry for entry in wanted):
        yield from _in_order(wanted, live, path)
        return
    found = {entry.get(key): entry for entry in live}
    for entry in wanted:
        where = (*path, str(entry[key]))
        if entry[key] in found:
            yield from _differences(entry, found[entry[key]], where)
        else:
            yield where


def _in_order(wanted: Sequence[Any], live: Sequence[Any], path: Path) -> Iterator[Path]:
    if len(wanted) != len(live):
        yield path
        return
    for index, (ours, theirs) in enumerate(zip(wanted, live, strict=True)):
        yield from _differences(ours, theirs, (*path, str(index)))


def _equal(wanted: Any, live: Any, path: Path) -> bool:
    if wanted == live:
        return True
    if len(path) > 1 and path[-2] in QUANTITIES:
        return bool(_number(wanted) == _number(live))
    return _empty(wanted) and _empty(live)


def _number(quantity: Any) -> Any:
    """What is no quantity equals only itself."""
    try:
        return parse_quantity(str(quantity))
    except ValueError:
        return quantity


def _empty(value: Any) -> bool:
    """What the API server leaves out. False is kept: it is often the opposite of a default."""
    return value is None or value == "" or value == {} or value == []
