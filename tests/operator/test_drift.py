"""What counts as a difference: what a server-side apply would change, and nothing else."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeembed_api.document import EmbeddingModel, Resolved, parse
from kubeembed_operator.drift import difference, differs
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.deployment import deployment
from kubeembed_operator.manifests.metadata import stamped
from kubeembed_operator.manifests.serving import service
from kubeembed_operator.settings import Settings

SETTINGS = Settings.parse(
    {
        "images": {"runtime": "r:1", "control": "c:1"},
        "profiles": {"cpu": {"resources": {"requests": {"cpu": "1000m"}}}},
    }
)
MODEL: EmbeddingModel = parse(
    {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": "m", "namespace": "n", "uid": "u"},
        "spec": {"model": {"source": "hf://a/b"}},
    }
).model_copy(update={"resolved": Resolved(key="k", revision="r")})
DEPLOYMENT = stamped(deployment(MODEL, SETTINGS))
SERVICE = stamped(service(MODEL))


def live(wanted: Manifest) -> Manifest:
    """As the API server gives it back: other spellings, defaults, and what others wrote."""
    made = copy.deepcopy(wanted)
    made["metadata"] |= {"uid": "1", "resourceVersion": "9", "creationTimestamp": "now"}
    made["metadata"]["labels"]["added-by"] = "somebody"
    if made["kind"] == "Deployment":
        pod = made["spec"]["template"]["spec"]
        pod |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
        pod["containers"][0]["resources"]["requests"]["cpu"] = "1"
        pod["containers"].insert(0, {"name": "injected", "image": "x"})
        made["spec"]["replicas"] = 4
        made["spec"]["template"]["metadata"]["annotations"]["restartedAt"] = "today"
    else:
        made["spec"] |= {"clusterIP": "10.0.0.1", "sessionAffinity": "None"}
    made["status"] = {}
    return made


@pytest.mark.parametrize("wanted", [DEPLOYMENT, SERVICE], ids=["deployment", "service"])
def test_defaults_and_what_others_wrote_are_no_difference(wanted: Manifest) -> None:
    assert difference(wanted, live(wanted)) is None
    assert not differs(wanted, live(wanted))


def _set(path: str, value: Any) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        *parents, last = path.split(".")
        place: Any = manifest
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        place[last] = value

    return change


def _remove(path: str) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        *parents, last = path.split(".")
        place: Any = manifest
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        del place[int(last) if isinstance(place, list) else last]

    return change


POD = "spec.template.spec"


@pytest.mark.parametrize(
    ("wanted", "change", "where"),
    [
        (
            DEPLOYMENT,
            _set(f"{POD}.containers.1.image", "evil:1"),
            f"{POD}.containers.runtime.image",
        ),
        (DEPLOYMENT, _remove(f"{POD}.containers.1"), f"{POD}.containers.runtime"),
        (
            DEPLOYMENT,
            _remove(f"{POD}.containers.1.livenessProbe"),
            f"{POD}.containers.runtime.livenessProbe",
        ),
        (
            DEPLOYMENT,
            _set(f"{POD}.containers.1.resources.requests.cpu", "2"),
            f"{POD}.containers.runtime.resources.requests.cpu",
        ),
        (
            DEPLOYMENT,
            _set(f"{POD}.containers.1.volumeMounts.2.readOnly", False),
            f"{POD}.containers.runtime.volumeMounts./var/cache/kubeembed.readOnly",
        ),
        (
            DEPLOYMENT,
            _remove(f"{POD}.automountServiceAccountToken"),
            f"{POD}.automountServiceAccountToken",
        ),
        (
            DEPLOYMENT,
            _set(f"{POD}.containers.1.args", ["serve"]),
            f"{POD}.containers.runtime.args",
        ),
        (SERVICE, _set("spec.selector.extra", "x"), "spec.selector"),
        (SERVICE, _set("spec.ports.0.port", 81), "spec.ports.http.port"),
        (SERVICE, _remove("metadata.ownerReferences"), "metadata.ownerReferences"),
        (SERVICE, _set("metadata.labels", {}), "metadata.labels.app.kubernetes.io/instance"),
    ],
    ids=[
        "image",
        "container",
        "probe",
        "quantity",
        "mount",
        "false",
        "arguments",
        "selector gains a key",
        "port",
        "owner",
        "labels",
    ],
)
def test_a_change_by_hand_is_found(
    wanted: Manifest, change: Callable[[Manifest], None], where: str
) -> None:
    changed = live(wanted)
    change(changed)
    assert difference(wanted, changed) == where
    assert differs(wanted, changed)


def test_a_field_that_is_no_longer_set_is_found_by_the_stamp() -> None:
    before = deployment(MODEL, SETTINGS)
    before["spec"]["minReadySeconds"] = 5
    assert difference(DEPLOYMENT, live(stamped(before))) == (
        "metadata.annotations.kubeembed.dev/applied"
    )
    assert differs(DEPLOYMENT, live(stamped(before)))


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        for key in value:
            yield from _leaves(value[key], (*path, key))
    elif isinstance(value, list) and value:
        for index in range(len(value)):
            yield from _leaves(value[index], (*path, index))
    else:
        yield path


@given(st.sampled_from(list(_leaves(DEPLOYMENT))))
def test_no_leaf_can_be_changed_unnoticed(path: tuple[Any, ...]) -> None:
    changed = copy.deepcopy(DEPLOYMENT)
    place: Any = changed
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = "something else"
    assert difference(DEPLOYMENT, changed) is not None


@given(st.sampled_from([p for p in _leaves(DEPLOYMENT) if p[-1] != "emptyDir"]))
def test_no_leaf_can_be_removed_unnoticed(path: tuple[Any, ...]) -> None:
    changed = copy.deepcopy(DEPLOYMENT)
    place: Any = changed
    for part in path[:-1]:
        place = place[part]
    del place[path[-1]]
    assert difference(DEPLOYMENT, changed) is not None
