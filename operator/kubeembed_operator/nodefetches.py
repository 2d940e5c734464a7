"""Fetches of the Node cache, which serving pods do before they serve: on which nodes, and how far. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from kubeembed_api.names import DOCUMENT_ANNOTATION
from kubeembed_api.podreasons import Trouble, lasting_trouble
from kubeembed_api.report import Progress
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.observed import Observed

#: Nodes that a message names before it counts the rest.
NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFetches:
    """`pods` fetch right now, or wait for another of their node that does; `nodes`: where they are.

    done: how many nodes have a whole copy. trouble: what the last attempt ended with, where no node has one.
    """

    pods: tuple[Manifest, ...] = ()
    nodes: tuple[str, ...] = ()
    done: int = 0
    trouble: Trouble | None = None


def node_fetches(observed: Observed) -> NodeFetches:
    """Of the newest template alone: pods of an earlier one may have fetched another copy."""
    there = (*observed.serving_pods, *observed.next.pods)
    pods = [pod for pod in there if node_of(pod) and _newest(pod, observed)]
    done = {node_of(pod) for pod in pods if _fetched(pod)}
    fetching = tuple(pod for pod in pods if node_of(pod) not in done and "running" in _state(pod))
    nodes = tuple(sorted({node_of(pod) for pod in fetching}))
    found = next((each for each in map(lasting_trouble, pods) if each is not None), None)
    return NodeFetches(pods=fetching, nodes=nodes, done=len(done), trouble=None if done else found)


def together(fetches: NodeFetches, answers: Sequence[Progress | None]) -> Progress:
    """Of the copies of all nodes; `answers` are those of `fetches.pods`. The pod of a node that has most is
    the one that fetches there. One that does not answer has nothing yet."""
    most = dict.fromkeys(fetches.nodes, 0)
    for pod, answer in zip(fetches.pods, answers, strict=True):
        here = answer.bytes if answer is not None else 0
        most[node_of(pod)] = max(most[node_of(pod)], here)
    whole = max((answer.total for answer in answers if answer is not None), default=0)
    return Progress(
        bytes=sum(most.values()) + whole * fetches.done, total=whole * (len(most) + fetches.done)
    )


def named(nodes: Sequence[str]) -> str:
    """'node a, b' as a message has it."""
    more = f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else ""
    return f"node {', '.join(nodes[:NAMED])}{more}"


def node_of(pod: Manifest) -> str:
    """Empty where it has none yet."""
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _newest(pod: Manifest, observed: Observed) -> bool:
    newest = observed.next.deployment or observed.deployment or {}
    template = newest.get("spec", {}).get("template", {})
    return _document(pod) == _document(template)


def _document(manifest: Manifest) -> str | None:
    annotations = manifest.get("metadata", {}).get("annotations") or {}
    return annotations.get(DOCUMENT_ANNOTATION)


def _fetched(pod: Manifest) -> bool:
    ended = _state(pod).get("terminated")
    return ended is not None and ended.get("exitCode") == 0


def _state(pod: Manifest) -> Manifest:
    """Of its init container."""
    statuses = (pod.get("status") or {}).get("initContainerStatuses") or ()
    return next((each.get("state") or {} for each in statuses), {})
