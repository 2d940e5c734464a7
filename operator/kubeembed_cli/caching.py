"""`kubeembed cache ls` and `kubeembed cache rm KEY`: the copies in the caches of a cluster.

Nothing is removed from here: the operator is asked to, by an annotation of the claim, and looks after it that
no model uses what goes.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from kubeembed_api.names import API_VERSION, KIND, MANAGED_BY, MANAGED_BY_VALUE, PLURAL
from kubeembed_cli.cluster import Cluster, connect
from kubeembed_cli.copies import CopyAt, Objects, Place, places
from kubeembed_cli.removing import chosen, remove
from kubeembed_cli.terminal import styled
from kubeembed_cli.times import ago, span
from kubeembed_weights.progress import size

OURS = f"{MANAGED_BY}={MANAGED_BY_VALUE}"
#: Seconds between two looks at what the operator does.
POLL = 1.0
#: Of a commit, so many digits are enough for a person.
REVISION = 12


def cache(options: argparse.Namespace) -> int:
    """The exit status."""
    cluster = connect(options.context, options.namespace)
    return _rm(cluster, options) if options.action == "rm" else _ls(cluster, options)


def gather(cluster: Cluster, *, everywhere: bool = False) -> Objects:
    """Raises CommandFailed."""

    def ours(plural: str) -> list[dict[str, Any]]:
        return cluster.list(plural, everywhere=everywhere, labelSelector=OURS)

    kind = {"apiVersion": API_VERSION, "kind": KIND}  # which a list's items need not say
    return Objects(
        models=[{**kind, **raw} for raw in cluster.list(PLURAL, everywhere=everywhere)],
        deployments=ours("deployments"),
        config_maps=ours("configmaps"),
        pods=ours("pods"),
        claims=cluster.list("persistentvolumeclaims", everywhere=everywhere),
    )


def _ls(cluster: Cluster, options: argparse.Namespace) -> int:
    found = places(gather(cluster, everywhere=options.all_namespaces))
    now = cluster.now or datetime.now(UTC)
    if options.output == "json":
        print(json.dumps([as_json(place) for place in found], indent=2))
    elif found:
        print("\n\n".join(told(place, now) for place in found))
    else:
        where = "any namespace" if options.all_namespaces else f"namespace {cluster.namespace}"
        print(f"no cache in {where}")
    return 0


def _rm(cluster: Cluster, options: argparse.Namespace) -> int:
    def look() -> tuple[Place, ...]:
        return places(gather(cluster))

    key = chosen(look(), options.key, cluster.namespace)
    gone = remove(cluster, key, look, _waits(options.wait), _progress)
    if options.output == "json":
        print(json.dumps({"key": key, "removed": [_where(place) for place in gone]}, indent=2))
    for place in gone if options.output != "json" else ():
        print(f"{key}: gone from {_named(place)}")
    return 0


def told(place: Place, now: datetime) -> str:
    """For a person."""
    return "\n".join(
        [
            _head(place, now),
            *(line for each in place.copies for line in _copy(each, now)),
            *_rest(place),
        ]
    )


def as_json(place: Place) -> Mapping[str, Any]:
    """For scripts. The names stay."""
    count, unlisted = place.unlisted
    note = place.note
    return {
        **_where(place),
        "cleared": place.cleared,
        "lookedAt": _moment(note.decided) if note is not None and note.decided else None,
        "copies": [
            {
                "key": copy.key,
                "source": copy.source,
                "revision": copy.revision,
                "bytes": copy.bytes,
                "models": [{"name": use.model, "use": use.what} for use in copy.uses],
                "unusedSince": _moment(copy.since),
                "goesAt": _moment(copy.goes),
            }
            for copy in place.copies
        ],
        "unlisted": {"copies": count, "bytes": unlisted},
    }


def _head(place: Place, now: datetime) -> str:
    name, note = styled(_named(place), "bold"), place.note
    if note is None or note.copies is None:
        return f"{name}, namespace {place.namespace}: {_count(len(place.copies))} known"
    when = ago(now.timestamp() - note.decided)
    whole = f"{_count(note.copies)}, {size(note.bytes or 0)}"
    return f"{name}, namespace {place.namespace}: {whole}, as of {when}"


def _copy(copy: CopyAt, now: datetime) -> Iterator[str]:
    at = f" at {copy.revision[:REVISION]}" if copy.revision else ""
    heavy = "?" if copy.bytes is None else size(copy.bytes)
    yield f"  {copy.key}  {heavy:>8}  {copy.source or ''}{at}".rstrip()
    yield f"    {_state(copy, now)}"


def _state(copy: CopyAt, now: datetime) -> str:
    if copy.uses:
        return f"used by {', '.join(map(str, copy.uses))}"
    if copy.since is None:
        return "no model uses it"
    unused = f"no model uses it, for {span(now.timestamp() - copy.since)}"
    return unused if copy.goes is None else f"{unused}; goes in {span(copy.goes - now.timestamp())}"


def _rest(place: Place) -> Iterator[str]:
    count, unlisted = place.unlisted
    if count > 0:
        yield f"  and {_count(count)} more that no model uses, of {size(unlisted)}"
    if not place.cleared:
        yield styled(
            f"  what else lies there is not known: label the claim {OURS} to have it looked after",
            "dim",
        )


def _waits(patience: float) -> Iterator[None]:
    """At least once, and again as long as `patience` lasts, in seconds."""
    end = time.monotonic() + patience
    yield
    while time.monotonic() < end:
        time.sleep(POLL)
        yield


def _progress(text: str) -> None:
    print(text, file=sys.stderr)


def _named(place: Place) -> str:
    return f"claim {place.claim}" + (f" on node {place.node}" if place.node else "")


def _where(place: Place) -> dict[str, str | None]:
    return {"namespace": place.namespace, "claim": place.claim, "node": place.node}


def _count(copies: int) -> str:
    return "1 copy" if copies == 1 else f"{copies} copies"


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
