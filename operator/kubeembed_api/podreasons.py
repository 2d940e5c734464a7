"""Why a Pod does not run, as one reason with a message that says the way out. Pure.

The container's own last word comes first: it knows more than kubelet. Counts of restarts and the like are
left out of messages, so that a pod which crashes for the tenth time does not make status change.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from kubeembed_api.reasons import Reason
from kubeembed_api.report import Report, parse_report

#: A message in a condition is read in a terminal; the whole is in `kubectl describe pod`.
MESSAGE_LIMIT = 600

IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)

#: kubelet alternates between the error and "Back-off pulling image ...: ErrImagePull: <the error>".
_BACK_OFF = re.compile(r'^Back-off pulling image "([^"]*)"(: ErrImagePull: )?')
#: It may be another than the container's own: that of a volume.
_PULLED = re.compile(r'pull(?:ing)? (?:and unpack )?image "([^"]+)"')
_SECRET = re.compile(r'secret "([^"]+)" not found')
_SECRET_KEY = re.compile(r"couldn't find key (\S+) in Secret (?:\S+/)?(\S+)", re.IGNORECASE)
_CLAIM = re.compile(r"persistentvolumeclaim|persistent volume|volume node affinity", re.IGNORECASE)

#: What a source oci:// asks of the cluster.
IMAGE_VOLUMES = (
    "an oci:// source is mounted as an image volume, for which the cluster needs Kubernetes 1.35 or newer, "
    "and the node containerd 2.1 or CRI-O 1.33 or newer"
)

Manifest = dict[str, Any]
Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a pod from running. `at`: when it was last seen, as Kubernetes spells times."""

    reason: Reason
    message: str
    at: str = ""


def trouble(pod: Manifest) -> Trouble | None:
    """None for a pod that is ready, done, or still on a way that looks good."""
    return None if ready(pod) else lasting_trouble(pod)


def lasting_trouble(pod: Manifest) -> Trouble | None:
    """As `trouble`, and of a pod that runs once more what its container ended with before.

    For a pod that is to end and not to serve: that it runs says nothing of how this attempt will end.
    """
    status: Status = pod.get("status") or {}
    if status.get("phase") == "Succeeded":
        return None
    return _evicted(status) or _unscheduled(status) or next(_in_containers(pod), None)


def ready(pod: Manifest) -> bool:
    return pod_condition(pod, "Ready").get("status") == "True"


def pod_condition(pod: Manifest, name: str) -> Status:
    """Empty where the pod has no such condition yet."""
    return _condition(pod.get("status") or {}, name)


def running(pod: Manifest) -> bool:
    """Whether its containers run right now, so that the admin port may answer."""
    status: Status = pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    return bool(containers) and all("running" in (c.get("state") or {}) for c in containers)


def last_words(pod: Manifest) -> Iterator[tuple[Report, str]]:
    """The reports that the pod's containers left, newest first, each with the time of its end."""
    for container in _containers(pod):
        for ended in _ends(container):
            report = parse_report(ended.get("message"))
            if report is not None:
                yield report, ended.get("finishedAt") or ""


def shortened(text: str) -> str:
    """One paragraph without line breaks, cut in the middle of what would not be read."""
    flat = " ".join(text.split())
    return flat if len(flat) <= MESSAGE_LIMIT else flat[: MESSAGE_LIMIT - 1] + "…"


def _evicted(status: Status) -> Trouble | None:
    if status.get("phase") != "Failed":
        return None
    message = status.get("message") or "the pod failed"
    if status.get("reason"):
        return Trouble(Reason.EVICTED, shortened(f"{status['reason']}: {message}"))
    return None


def _unscheduled(status: Status) -> Trouble | None:
    condition = _condition(status, "PodScheduled")
    if condition.get("status") != "False" or condition.get("reason") == "SchedulingGated":
        return None
    message = shortened(condition.get("message") or "no node takes the pod")
    reason = Reason.CLAIM_PENDING if _CLAIM.search(message) else Reason.UNSCHEDULABLE
    return Trouble(reason, message)


def _in_containers(pod: Manifest) -> Iterator[Trouble]:
    for container in _containers(pod):
        waiting = (container.get("state") or {}).get("waiting")
        found = _waiting(container, waiting) if waiting else None
        if found is not None:
            yield _explained(pod, found)
        for ended in _ends(container):
            if ended.get("exitCode") != 0:
                yield _ended(container, ended)


def _explained(pod: Manifest, found: Trouble) -> Trouble:
    """Nodes that do not know volumes of images say it in words that nobody would understand."""
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    if found.reason is not Reason.CONTAINER_CONFIG or not any("image" in v for v in volumes):
        return found
    return replace(found, message=shortened(f"{found.message}; {IMAGE_VOLUMES}"))


def _waiting(container: Status, waiting: Status) -> Trouble | None:
    reason, message = waiting.get("reason"), waiting.get("message") or ""
    if reason in IMAGE_REASONS:
        detail = _BACK_OFF.sub("", message) or reason
        pulled = _PULLED.search(message)
        image = pulled[1] if pulled else container.get("image")
        text = f"image {image} cannot be pulled: {detail}"
        return Trouble(Reason.IMAGE_PULL_FAILED, shortened(text))
    if reason in ("CreateContainerConfigError", "CreateContainerError"):
        return _misconfigured(message or reason)
    return None


def _misconfigured(message: str) -> Trouble:
    secret = _SECRET.search(message)
    if secret:
        text = (
            f"Secret {secret[1]} does not exist; create it with the keys that docs/sources.md names"
        )
        return Trouble(Reason.SECRET_MISSING, text)
    key = _SECRET_KEY.search(message)
    if key:
        text = f"Secret {key[2]} has no key `{key[1]}`; add it"
        return Trouble(Reason.SECRET_MISSING, text)
    return Trouble(Reason.CONTAINER_CONFIG, shortened(message))


def _ended(container: Status, ended: Status) -> Trouble:
    at = ended.get("finishedAt") or ""
    if ended.get("reason") == "OOMKilled":
        text = (
            f"container {container['name']} was killed for memory: raise the profile's memory limit"
        )
        return Trouble(Reason.OUT_OF_MEMORY, text, at)
    report = parse_report(ended.get("message"))
    if report is not None:
        return Trouble(report.reason, shortened(report.message), at)
    word = _tail(ended.get("message") or ended.get("reason") or "no last word")
    text = f"container {container['name']} ended with exit code {ended.get('exitCode')}: {word}"
    return Trouble(Reason.CRASH_LOOP, shortened(text), at)


def _tail(log: str) -> str:
    """The end of a log, where the error is."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return " ".join(lines[-3:])[-MESSAGE_LIMIT // 2 :]


def _containers(pod: Manifest) -> Iterator[Status]:
    status: Status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _ends(container: Status) -> Iterator[Status]:
    for state in ("state", "lastState"):
        ended = (container.get(state) or {}).get("terminated")
        if ended:
            yield ended


def _condition(status: Status, name: str) -> Status:
    conditions: list[Status] = status.get("conditions") or []
    return next((c for c in conditions if c.get("type") == name), {})
