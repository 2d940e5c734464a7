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
)
from kubeembed_operator.kinds import CLAIM, JOB, Manifest
from kubeembed_operator.manifests import pods
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
    claim: Manifest, keep: Collection[str], decided: float, settings: Settings
) -> Manifest:
    """`decided` in seconds since the epoch: with it each Job has a name of its own."""
    keys = sorted(keep)
    labels = {COMPONENT: COLLECT, MANAGED_BY: MANAGED_BY_VALUE}
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.name,
        "metadata": {
            "annotations": {DECIDED_ANNOTATION: str(decided), KEYS_ANNOTATION: " ".join(keys)},
            "labels": labels,
            "name": f"{claim['metadata']['name'][:40]}-collect-{int(decided):x}",
            "namespace": claim["metadata"]["namespace"],
            "ownerReferences": [_owner(claim)],
        },
        "spec": {
            "activeDeadlineSeconds": DEADLINE,
            "backoffLimit": 3,
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(claim["metadata"]["name"], keys, decided, settings),
            },
            "ttlSecondsAfterFinished": KEPT_SECONDS,
        },
    }


def _pod(claim: str, keys: list[str], decided: float, settings: Settings) -> Manifest:
    ttl = ["--ttl", str(settings.weights.unused_seconds)]
    args = ["collect", "--root", CACHE_ROOT, *ttl, "--decided", str(decided), "--keep", *keys]
    secrets = [{"name": name} for name in settings.images.pull_secrets]
    return {
        **pods.restricted(),
        **({"imagePullSecrets": secrets} if secrets else {}),
        "containers": [
            container(
                settings,
                name="collect",
                args=args,
                env=[],
                mounts=[{"mountPath": CACHE_ROOT, "name": pods.CACHE_VOLUME}],
                resources=RESOURCES,
            )
        ],
        "restartPolicy": "Never",
        "volumes": [{"name": pods.CACHE_VOLUME, "persistentVolumeClaim": {"claimName": claim}}],
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
