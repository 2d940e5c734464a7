"""Replicas by load, and a model's sleep, against the real API server, its controllers and its endpoints.

The pods are ones that nobody runs: tests say when they are ready and how loaded they are.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeembed_api.names import ACTIVATOR_PORTS
from loadedkit import NOWHERE, Server, gateway_pod, make_ready
from nodekit import Kube, Manifest, at_rest, until
from operatorkit import SETTINGS, Operators, make_fetched, model, writes

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(600)]

SERVING = "app.kubernetes.io/component=serving"
#: No claim, which would bind the pods to the real node.
OWN = {"cache": "Ephemeral"}

GATEWAY_LABEL = "app.kubernetes.io/component=gateway,!kubeembed.dev/model"
GATEWAY = {"app.kubernetes.io/component": "gateway"}


@pytest.fixture
def operators(kube: Kube, tmp_path: Path) -> Iterator[Operators]:
    """Whose models' pods nobody runs, and whose gateway is in their own namespace."""
    settings = {
        **SETTINGS,
        "profiles": {"cpu": NOWHERE},
        "gateway": {"namespace": kube.namespace, "labels": GATEWAY},
    }
    made = Operators(kube, tmp_path, settings)
    yield made
    made.end()


def replicas(kube: Kube, name: str) -> int:
    return int((kube.get("deploy", name) or {"spec": {"replicas": -1}})["spec"]["replicas"])


def activator(kube: Kube) -> Manifest | None:
    found: Manifest | None = kube.get("endpointslice", "m-activator")
    return found


def told(kube: Kube, name: str) -> str:
    """Ready and wanted replicas, once the model is Ready."""
    summary: str = kube.get("em", name)["status"]["replicas"]["summary"]
    return summary if kube.condition(name)["status"] == "True" else ""


def ready(kube: Kube, name: str, count: int) -> bool:
    """Lets its pods be ready; whether there are so many."""
    return make_ready(kube, f"{SERVING},kubeembed.dev/model={name}") == count


def test_the_number_follows_the_load_and_survives_a_restart(
    kube: Kube, operators: Operators, pods: Server
) -> None:
    make_fetched(kube, model("m", weights=OWN, scaling={"min": 1, "max": 3}))
    make_fetched(kube, model("other", weights=OWN, scaling={"mode": "External", "replicas": 2}))
    process = operators.start()
    until("a pod of each", lambda: ready(kube, "m", 1) and ready(kube, "other", 2), 60)
    kube.wait_ready("m", 60)
    pods.busy = 1.0
    until("more of them", lambda: ready(kube, "m", 3), 90)
    pods.busy = 0.0
    kube.ctl("scale", "deploy/other", "--replicas=1")
    process.stop()
    operators.start("two")
    until("both told", lambda: (told(kube, "m"), told(kube, "other")) == ("3/3", "1/1"), 60)
    before, asked = at_rest(lambda: writes(kube), 5), pods.asked
    until("several looks at three pods", lambda: pods.asked > asked + 15, 90)
    assert (replicas(kube, "m"), replicas(kube, "other")) == (3, 1)
    assert writes(kube) == before


def test_a_model_falls_asleep_behind_the_gateway_and_is_woken(
    kube: Kube, operators: Operators, pods: Server
) -> None:
    make_fetched(kube, model("m", weights=OWN, scaling={"min": 0, "max": 2, "idleAfter": "5s"}))
    process = operators.start()
    until("a pod", lambda: ready(kube, "m", 1), 60)
    kube.wait_ready("m", 60)
    pods.idle_seconds = 60.0
    looked = pods.asked
    until("two looks", lambda: pods.asked > looked + 2, 60)
    assert activator(kube) is None  # nobody could wake it
    assert replicas(kube, "m") == 1

    kube.apply(gateway_pod())
    until("the gateway is somewhere", lambda: make_ready(kube, GATEWAY_LABEL) == 1, 60)
    until("no pods", lambda: replicas(kube, "m") == 0, 90)
    kube.wait_reason("m", "Ready", "Asleep", 60)
    made = writes(kube)
    scaled = len(made) - 1 - made[::-1].index("patch deployments m")
    assert made.index("patch endpointslices m-activator") < scaled
    service = kube.get("svc", "m")
    port = int(service["metadata"]["annotations"]["kubeembed.dev/activator-port"])
    found = activator(kube)
    assert found is not None
    assert port in ACTIVATOR_PORTS
    assert found["ports"] == [{"name": "http", "port": port, "protocol": "TCP"}]
    assert [each["addresses"] for each in found["endpoints"]] == [[kube.info["hostAddress"]]]
    assert kube.ctl("get", "em", "m").splitlines()[1].split()[1:3] == ["True", "Asleep"]

    kube.ctl("delete", "endpointslice", "m-activator")
    until("another slice", lambda: activator(kube), 60)
    process.stop()
    pods.idle_seconds = 0.0
    wake: tuple[str, ...] = ("patch", "deploy", "m", "--subresource=scale", "--type=merge")
    kube.ctl(*wake, "--field-manager=kubeembed-gateway", "-p", '{"spec":{"replicas":1}}')
    until("a pod", lambda: ready(kube, "m", 1), 60)
    process = operators.start("two")
    until("no slice", lambda: activator(kube) is None, 60)
    kube.wait_reason("m", "Ready", "Ready", 60)
    before, looked = at_rest(lambda: writes(kube), 5), pods.asked
    until("three looks", lambda: pods.asked > looked + 3, 60)
    assert writes(kube) == before
    assert replicas(kube, "m") == 1
    assert kube.get("svc", "m")["metadata"]["annotations"] == service["metadata"]["annotations"]


def test_without_a_gateway_no_model_may_sleep(kube: Kube, tmp_path: Path) -> None:
    lonely = Operators(kube, tmp_path, SETTINGS)
    try:
        lonely.start()
        kube.apply(model("m", scaling={"min": 0}))
        told = kube.wait_reason("m", "Ready", "InvalidSpec", 60)
        assert told["message"].startswith("spec.scaling.min: 0 lets the model sleep")
    finally:
        lonely.end()


#: In force at all moments but one of each fourth year.
ALWAYS = {"start": "* * * * *", "end": "0 0 29 2 *", "timeZone": "Europe/Berlin", "min": 2}


def test_a_schedule_in_force_wakes_a_model_and_one_that_is_none_is_told(
    kube: Kube, operators: Operators
) -> None:
    make_fetched(kube, model("m", weights=OWN, scaling={"min": 0, "max": 3, "schedules": [ALWAYS]}))
    operators.start()
    until("as the schedule says", lambda: replicas(kube, "m") == 2, 60)
    kube.ctl("scale", "deploy/m", "--replicas=0")
    until("woken", lambda: replicas(kube, "m") == 2, 60)
    wrong = {"spec": {"scaling": {"schedules": [{**ALWAYS, "timeZone": "Europe/Berln"}]}}}
    kube.patch("em", "m", wrong)
    told = kube.wait_reason("m", "Ready", "InvalidSpec", 60)
    assert told["message"] == (
        "spec.scaling.schedules[0].timeZone: 'Europe/Berln' is no time zone (did you mean Europe/Berlin?);"
        " write a name of the IANA database, as in Europe/Berlin or Etc/UTC"
    )
