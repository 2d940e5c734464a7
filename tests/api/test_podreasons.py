"""Pods as kubelet and scheduler leave them -> one reason and a message."""

from typing import Any

import pytest

from kubeembed_api.podreasons import Trouble, trouble
from kubeembed_api.reasons import Reason

IMAGE = "registry.test/runtime:nope"


def pod(*containers: dict[str, Any], phase: str = "Pending", **status: Any) -> dict[str, Any]:
    listed = [{"name": "runtime", "image": IMAGE, **container} for container in containers]
    return {"metadata": {}, "status": {"phase": phase, "containerStatuses": listed, **status}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def with_image_volume(found: dict[str, Any]) -> dict[str, Any]:
    image = {"reference": "registry.test/models/m@sha256:00", "pullPolicy": "IfNotPresent"}
    return {**found, "spec": {"volumes": [{"name": "weights", "image": image}]}}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    told = {"exitCode": code, "reason": reason, "message": message, "finishedAt": "2026-01-01"}
    return {"state": {"running": {}}, "lastState": {"terminated": told}}


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return pod(conditions=[{**condition, "message": message}])


PULL_ERROR = 'failed to resolve "registry.test/runtime:nope": not found'
NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            pod(waiting("ErrImagePull", PULL_ERROR)),
            Trouble(
                Reason.IMAGE_PULL_FAILED,
                f"image {IMAGE} cannot be pulled: {PULL_ERROR}",
            ),
        ),
        (
            pod(
                waiting(
                    "ImagePullBackOff",
                    f'Back-off pulling image "{IMAGE}": ErrImagePull: {PULL_ERROR}',
                )
            ),
            Trouble(
                Reason.IMAGE_PULL_FAILED,
                f"image {IMAGE} cannot be pulled: {PULL_ERROR}",
            ),
        ),
        (
            pod(
                waiting(
                    "ImagePullBackOff",
                    'Back-off pulling image "registry.test/models/m@sha256:00": ErrImagePull: no',
                )
            ),
            Trouble(
                Reason.IMAGE_PULL_FAILED,
                "image registry.test/models/m@sha256:00 cannot be pulled: no",
            ),
        ),
        (
            with_image_volume(pod(waiting("CreateContainerError", "failed to mkdir"))),
            Trouble(
                Reason.CONTAINER_CONFIG,
                "failed to mkdir; an oci:// source is mounted as an image volume, for which the cluster "
                "needs Kubernetes 1.35 or newer, and the node containerd 2.1 or CRI-O 1.33 or newer",
            ),
        ),
        (unscheduled(NO_GPU), Trouble(Reason.UNSCHEDULABLE, NO_GPU)),
        (
            unscheduled('persistentvolumeclaim "mine" not found'),
            Trouble(Reason.CLAIM_PENDING, 'persistentvolumeclaim "mine" not found'),
        ),
        (
            pod(waiting("CreateContainerConfigError", 'secret "hf-token" not found')),
            Trouble(
                Reason.SECRET_MISSING,
                "Secret hf-token does not exist; create it with the keys that docs/sources.md names",
            ),
        ),
        (
            pod(
                waiting(
                    "CreateContainerConfigError",
                    "couldn't find key token in Secret search/hf-token",
                )
            ),
            Trouble(Reason.SECRET_MISSING, "Secret hf-token has no key `token`; add it"),
        ),
        (
            pod(waiting("CreateContainerConfigError", 'configmap "minilm" not found')),
            Trouble(Reason.CONTAINER_CONFIG, 'configmap "minilm" not found'),
        ),
        (
            pod(ended(137, reason="OOMKilled")),
            Trouble(
                Reason.OUT_OF_MEMORY,
                "container runtime was killed for memory: raise the profile's memory limit",
                "2026-01-01",
            ),
        ),
        (
            pod(ended(1, '{"reason": "UnsupportedModel", "message": "no bert"}')),
            Trouble(Reason.UNSUPPORTED_MODEL, "no bert", "2026-01-01"),
        ),
        (
            pod(ended(1, "Traceback\n  File x\nValueError: bad\n")),
            Trouble(
                Reason.CRASH_LOOP,
                "container runtime ended with exit code 1: Traceback File x ValueError: bad",
                "2026-01-01",
            ),
        ),
        (
            {
                "metadata": {},
                "status": {"phase": "Failed", "reason": "Evicted", "message": "low on disk"},
            },
            Trouble(Reason.EVICTED, "Evicted: low on disk"),
        ),
    ],
    ids=[
        "pull error",
        "pull back-off says the same",
        "another image than the container's",
        "node without image volumes",
        "no gpu",
        "no claim",
        "no secret",
        "no key in the secret",
        "no config map",
        "out of memory",
        "last word",
        "crash",
        "evicted",
    ],
)
def test_why_a_pod_does_not_run(found: dict[str, Any], expected: Trouble) -> None:
    assert trouble(found) == expected


@pytest.mark.parametrize(
    "found",
    [
        {"metadata": {}},
        pod(waiting("ContainerCreating")),
        pod({"state": {"running": {}}}, phase="Running"),
        pod(ended(1, "x"), phase="Running", conditions=[{"type": "Ready", "status": "True"}]),
        pod({"state": {"terminated": {"exitCode": 0}}}, phase="Succeeded"),
    ],
    ids=["just made", "being created", "loading", "ready after a crash", "done"],
)
def test_pods_on_a_good_way_have_no_trouble(found: dict[str, Any]) -> None:
    assert trouble(found) is None


def test_a_pod_that_is_restarted_keeps_the_reason_whatever_the_count() -> None:
    back_off = {**ended(1, "x"), **waiting("CrashLoopBackOff", "back-off 40s restarting")}
    assert trouble(pod({**back_off, "restartCount": 4})) == trouble(pod(ended(1, "x")))
