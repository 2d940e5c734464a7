"""The caches of a namespace: which keys are in use, and whether there is anything to collect. Pure.

What is known of a cache is noted on its claim, so that a model which is deleted while the operator is down is
missed afterwards. A key that went out of use, or the end of an unused one's time, asks for a collection.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kubeembed_api.cachenotes import Note
from kubeembed_api.caches import claims_of, keys_on, parsed
from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import (
    COMPONENT,
    DECIDED_ANNOTATION,
    KEYS_ANNOTATION,
    NEXT,
    NODE_ANNOTATION,
    REMOVE_ANNOTATION,
    SERVING,
)
from kubeembed_api.podreasons import last_words
from kubeembed_api.report import CacheReport
from kubeembed_operator.kinds import CONFIG_MAP, DEPLOYMENT, MODEL, POD, Manifest
from kubeembed_operator.manifests.node_cache import on_node
from kubeembed_operator.manifests.weights import fetch_request
from kubeembed_operator.observed import controlled_by
from kubeembed_operator.store import Store

#: A fetch that is not finished: uid of its model, and what is asked for.
Pending = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Of one cache: the keys that models have, and the fetches that are on their way."""

    keys: frozenset[str]
    pending: frozenset[Pending]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`note` is to be written, where there is one; `collect`: a Job is wanted, `busy`: one is there.

    wait: seconds until the cache has to be looked at again. gone: its node could not be reached in time.
    """

    note: Note | None = None
    collect: bool = False
    busy: bool = False
    gone: bool = False
    wait: float | None = None


def users(store: Store, claim: Manifest) -> Users:
    """Of all models of the namespace that use the claim."""
    namespace, name = claim["metadata"]["namespace"], claim["metadata"]["name"]
    keys: set[str] = set()
    pending: set[Pending] = set()
    for key in store.models_in(namespace):
        raw = store.get(MODEL, key)
        if raw is None:
            continue
        keys |= keys_on(
            name,
            raw,
            deployments=store.children(DEPLOYMENT, key),
            config_map=store.get(CONFIG_MAP, key),
            pods=store.children(POD, key),
        )
        model = parsed(raw)
        if model is not None and name in claims_of(model):
            pending.update(_pending(model, raw))
    return Users(keys=frozenset(keys), pending=frozenset(pending))


def judged(
    note: Note | None,
    using: Users,
    jobs: Sequence[Manifest],
    pods: Sequence[Manifest],
    now: float,
    *,
    node: str | None = None,
    asked: frozenset[str] = frozenset(),
) -> Verdict:
    """`jobs`: the collections of this place that are still there. `now` in seconds since the epoch. `asked`:
    keys that somebody wants removed, which they are once no model uses them."""
    known = note or Note(node=node)
    newest = max(jobs, key=decided_at, default=None)
    if newest is not None and decided_at(newest) > known.decided:
        report = _report(newest, pods)
        if report is None:  # it runs; or it failed, and that it stays a while is the pause
            return Verdict(busy=True, gone=node is not None and _never_came(newest))
        found = _noted(newest, report, now)
        then = _settled(found, using, asked, now)
        return replace(then, note=then.note or found)
    return _settled(known, using, asked, now)


def _never_came(job: Manifest) -> bool:
    """Whether its pod did not get to the node in time."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    failed: Manifest = next((each for each in conditions if each.get("type") == "Failed"), {})
    return failed.get("status") == "True" and failed.get("reason") == "DeadlineExceeded"


def decided_at(job: Manifest) -> float:
    return float((job["metadata"].get("annotations") or {}).get(DECIDED_ANNOTATION) or 0)


def _settled(note: Note, using: Users, asked: frozenset[str], now: float) -> Verdict:
    """A key is asked for anew once nobody has asked for it in between."""
    went = note.keys - using.keys or asked - using.keys - note.asked
    if went or (note.due is not None and now >= note.due):
        return Verdict(collect=True)
    told = replace(note, keys=using.keys, asked=note.asked & asked)
    wait = None if note.due is None else note.due - now
    return Verdict(note=told if told != note else None, wait=wait)


def _noted(job: Manifest, report: CacheReport, now: float) -> Note:
    annotations = job["metadata"].get("annotations") or {}
    wait = report.next_seconds
    return Note(
        keys=frozenset((annotations.get(KEYS_ANNOTATION) or "").split()),
        decided=decided_at(job),
        due=None if wait is None else now + wait,
        copies=report.copies,
        bytes=report.bytes,
        unused=report.unused,
        unused_bytes=report.unused_bytes,
        node=annotations.get(NODE_ANNOTATION),
        asked=frozenset((annotations.get(REMOVE_ANNOTATION) or "").split()),
        listed=report.listed,
    )


def _report(job: Manifest, pods: Sequence[Manifest]) -> CacheReport | None:
    uid = job["metadata"]["uid"]
    for pod in pods:
        for report, _ in last_words(pod) if controlled_by(pod, uid) else ():
            if report.cache is not None:
                return report.cache
    return None


def nodes_of(store: Store, namespace: str) -> set[str]:
    """Where models with a Node cache have pods that fetch into it and serve from it."""
    models = (store.get(MODEL, key) for key in store.models_in(namespace))
    names = [
        raw["metadata"]["name"]
        for raw in models
        if raw and (raw["spec"].get("weights") or {}).get("cache") == "Node"
    ]
    pods = (pod for name in names for pod in store.children(POD, (namespace, name)))
    serving = (pod for pod in pods if pod["metadata"]["labels"].get(COMPONENT) in (SERVING, NEXT))
    return {node for pod in serving if (node := (pod.get("spec") or {}).get("nodeName"))}


def _pending(model: EmbeddingModel, raw: Manifest) -> Iterator[Pending]:
    """Nothing for the Node cache: there the Job only resolves, and pods that fetch name the key."""
    if on_node(model):
        return
    known = ((raw.get("status") or {}).get("weights") or {}).get("request")
    wanted = fetch_request(model)
    if known != wanted:
        yield model.metadata.uid, wanted


def abandoned(before: Iterable[Pending], using: Users, store: Store, namespace: str) -> bool:
    """Whether a fetch ended without a copy: its model is gone, or asks for something else."""
    gone = set(before) - using.pending
    requests = {_request(store.get(MODEL, key)) for key in store.models_in(namespace)}
    return bool(gone - requests)


def _request(raw: Manifest | None) -> Pending:
    """What the model's status answers."""
    if raw is None:
        return "", ""
    weights = (raw.get("status") or {}).get("weights") or {}
    return raw["metadata"]["uid"], weights.get("request") or ""
