"""The Job that removes from a cache what no model uses. It belongs to the claim, for no model is left of it.

It is told which keys to keep and when that was decided: a copy that a fetch asked for since then stays.
"""

from collections.abc import Collection

from kubeembed_api.names import (
    CACHE_ROOT,
    COLLECT,
    COMPONENT,
    DECIDED_ANNOTATION,
    KEYS_ANNOTATION,
    MANAGED_BY,
    MANAGED_BY_VALUE,
    NODE_ANNOTATION,
    REMOVE_ANNOTATION,
)
from kubeembed_operator.kinds import CLAIM, JOB, Manifest
from kubeembed_operator.manifests import pods
from kubeembed_operator.manifests.metadata import digest
from kubeembed_operator.manifests.node_cache import node_mount
from kubeembed_operator.manifests.weights import container
from kubeembed_operator.settings import Settings

#: Seconds after which a Job that could not run is given up: what it was told may be wrong by then.
DEADLINE = 600
#: Seconds that a finished one stays. After a failure it is also the pause before the next.
KEPT_SECONDS = 300

RESOURCES: Manifest = {
    "limits": {"memory": "256Mi"},
    "requests": {"cpu": "10m", "memory": "64Mi"},
}


def collect_job(
    claim: Manifest,
    keep: Collection[str],
    decided: float,
    settings: Settings,
    *,
    node: str | None = None,
    remove: Collection[str] = (),
) -> Manifest:
    """`decided` in seconds since the epoch: with it, and the node, each Job has a name of its own. `remove`:
    keys that have no time to live any more."""
    keys, now = sorted(keep), sorted(remove)
    labels = {COMPONENT: COLLECT, MANAGED_BY: MANAGED_BY_VALUE}
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.name,
        "metadata": {
            "annotations": {
                DECIDED_ANNOTATION: str(decided),
                KEYS_ANNOTATION: " ".join(keys),
                **({NODE_ANNOTATION: node} if node else {}),
                **({REMOVE_ANNOTATION: " ".join(now)} if now else {}),
            },
            "labels": labels,
            "name": f"{claim['metadata']['name'][:40]}-collect-{int(decided):x}{_mark(node)}",
            "namespace": claim["metadata"]["namespace"],
            "ownerReferences": [_owner(claim)],
        },
        "spec": {
            "activeDeadlineSeconds": DEADLINE,
            "backoffLimit": 3,
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(claim, _arguments(keys, now, decided, settings), settings, node),
            },
            "ttlSecondsAfterFinished": KEPT_SECONDS,
        },
    }


def _mark(node: str | None) -> str:
    return f"-{digest(node)[:8]}" if node else ""


def _arguments(keep: list[str], remove: list[str], decided: float, settings: Settings) -> list[str]:
    seconds = settings.weights.unused_seconds
    ttl = ["--ttl", "inf" if seconds is None else str(seconds)]
    now = ["--remove", *remove] if remove else []
    return [
        "collect",
        *("--root", CACHE_ROOT),
        *ttl,
        *("--decided", str(decided)),
        *("--keep", *keep),
        *now,
    ]


def _pod(claim: Manifest, args: list[str], settings: Settings, node: str | None) -> Manifest:
    secrets = [{"name": name} for name in settings.images.pull_secrets]
    return {
        **pods.restricted(),
        **_pinned(node),
        **({"imagePullSecrets": secrets} if secrets else {}),
        "containers": [
            container(
                settings,
                name="collect",
                args=args,
                env=[],
                mounts=[_mount(claim["metadata"]["namespace"], node)],
                resources=RESOURCES,
            )
        ],
        "restartPolicy": "Never",
        "volumes": [
            {
                "name": pods.CACHE_VOLUME,
                "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]},
            }
        ],
    }


def _mount(namespace: str, node: str | None) -> Manifest:
    return node_mount(namespace) if node else {"mountPath": CACHE_ROOT, "name": pods.CACHE_VOLUME}


def _pinned(node: str | None) -> Manifest:
    """To that node, whatever keeps other pods away from it."""
    if node is None:
        return {}
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
        "tolerations": [{"operator": "Exists"}],
    }


def _owner(claim: Manifest) -> Manifest:
    return {
        "apiVersion": CLAIM.api_version,
        "blockOwnerDeletion": False,
        "controller": True,
        "kind": CLAIM.name,
        "name": claim["metadata"]["name"],
        "uid": claim["metadata"]["uid"],
    }
