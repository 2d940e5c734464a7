"""Brings the adapters of running pods to what is wanted, over their admin port, and remembers what each has.

A pod is asked once and then told of differences, so a settled pass costs nothing. A pod that starts reads
adapters.json, which may have been a little old: so each new one is asked.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from kubeembed_api.report import ServedAdapter, ServedAdapters
from kubeembed_operator.adapters import Verdict
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.listings import Golden, Held, Listing, identity
from kubeembed_operator.pods import RefusedAdapter

#: Seconds until a pod that did not answer is asked again, and how often it is asked that fast. A pod that
#: refuses what it should serve is asked as slowly: the reason may lie in the volume.
POLL, TRIES, POLL_SLOW = 2.0, 5, 30.0

#: A pod that is ready, and {name: folder} that it is to serve; None: it is asked and keeps what it has.
Offer = tuple[Manifest, Mapping[str, str] | None]


def no_golden(pod: Manifest, name: str) -> None:
    """There are none."""


class Admin(Protocol):
    """The part of `pods.Pods` that is used here. None, or False, where a pod did not answer."""

    async def adapters(self, pod: Manifest) -> ServedAdapters | None: ...

    async def put_adapter(
        self, pod: Manifest, name: str, folder: str, golden: Mapping[str, Any] | None = None
    ) -> ServedAdapter | RefusedAdapter | None: ...

    async def remove_adapter(self, pod: Manifest, name: str) -> bool: ...


@dataclass(slots=True)
class Known:
    """What is remembered of a model's pods between passes, by uid and restarts. All of it can be lost."""

    listings: dict[str, Listing] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)
    tries: int = 0


async def push(
    pods: Admin, offers: Sequence[Offer], known: Known, golden: Golden = no_golden
) -> float | None:
    """Tells each pod what it lacks or has too much. Seconds until the next look, if one is wanted."""
    now = asyncio.get_running_loop().time()
    listings = _still_known(offers, known, now)
    found = await asyncio.gather(
        *(_one(pods, pod, wanted, listings.get(identity(pod)), golden) for pod, wanted in offers)
    )
    told = [
        (identity(pod), wanted, listing)
        for (pod, wanted), listing in zip(offers, found, strict=True)
        if listing is not None
    ]
    known.listings = {pod: listing for pod, _, listing in told}
    known.asked = {pod: known.asked.get(pod, now) for pod in known.listings}
    if None in found:
        known.tries += 1
        return POLL if known.tries <= TRIES else POLL_SLOW
    known.tries = 0
    return POLL_SLOW if any(_refuses(listing, wanted) for _, wanted, listing in told) else None


def verdicts(wanted: Mapping[str, str], listings: Iterable[Listing]) -> dict[str, Verdict]:
    """What the pods make of each wanted folder; no word of a name that no pod has tried. A pod that does not
    find it outweighs all others: what those have in memory is lost with them."""
    found: dict[str, Verdict] = {}
    told = tuple(listings)
    for name, path in wanted.items():
        held = [listing[name] for listing in told if name in listing]
        refused = [each for each in held if each.refused == path]
        if any(each.missed == path for each in held):
            found[name] = Verdict(missing=True)
        elif any(each.serves(path) for each in held):
            found[name] = Verdict()
        elif refused:
            found[name] = Verdict(error=refused[0].error, reason=refused[0].reason)
    return found


def _still_known(offers: Sequence[Offer], known: Known, now: float) -> dict[str, Listing]:
    """Without those of pods that are gone, and of those that refused something a while ago."""
    here = {identity(pod): wanted for pod, wanted in offers}
    stale = {
        pod
        for pod, wanted in here.items()
        if pod in known.listings and _refuses(known.listings[pod], wanted)
        if now - known.asked.get(pod, now) >= POLL_SLOW
    }
    for pod in stale:
        known.asked.pop(pod, None)
    return {
        pod: listing for pod, listing in known.listings.items() if pod in here and pod not in stale
    }


async def _one(
    pods: Admin,
    pod: Manifest,
    wanted: Mapping[str, str] | None,
    known: Listing | None,
    golden: Golden,
) -> Listing | None:
    """What the pod has now; None where it did not answer."""
    listing = {**known} if known is not None else await _asked(pods, pod)
    if listing is None or wanted is None:
        return listing
    for name in [name for name in listing if name not in wanted]:
        if listing[name].path is not None and not await pods.remove_adapter(pod, name):
            return None
        del listing[name]
    for name, path in wanted.items():
        held = listing.get(name, Held())
        if held.serves(path) or held.refused == path:
            continue
        answer = await pods.put_adapter(pod, name, path, golden(pod, name))
        if answer is None:
            return None
        listing[name] = _after(held, path, answer)
    return listing


async def _asked(pods: Admin, pod: Manifest) -> Listing | None:
    answer = await pods.adapters(pod)
    return None if answer is None else {each.name: _held(each) for each in answer.adapters}


def _held(told: ServedAdapter) -> Held:
    return Held(path=told.path, broken=told.error is not None, fingerprint=told.fingerprint)


def _after(held: Held, path: str, answer: ServedAdapter | RefusedAdapter) -> Held:
    """A refused one changes nothing of what the pod serves under the name."""
    if isinstance(answer, RefusedAdapter):
        tried = replace(held, error=answer.message, reason=answer.reason, missed=None)
        return replace(tried, missed=path) if answer.missing else replace(tried, refused=path)
    return _held(answer)


def _refuses(listing: Listing, wanted: Mapping[str, str] | None) -> bool:
    told = (wanted or {}).items()
    held = ((listing[name], path) for name, path in told if name in listing)
    return any(path in (each.refused, each.missed) for each, path in held)
