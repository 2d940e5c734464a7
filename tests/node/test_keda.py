"""examples/keda.yaml with the real KEDA: it comes, scales from none to several and back, and goes.

The operator writes no number of replicas meanwhile, by the API server's audit log.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import yaml

import kedakit
from askkit import Clients, embed
from nodekit import ROOT, Kube, Manifest, run, until
from operatorkit import scaled
from sleepkit import address, replicas

pytestmark = [pytest.mark.keda, pytest.mark.timeout(3600)]

NAME = "busy"
SCALING = {"mode": "KEDA", "min": 0, "max": 2, "target": {"utilization": 10}, "idleAfter": "8s"}


@pytest.fixture(scope="module")
def kube(info: dict[str, str], installed: Kube, shared_kube: Kube) -> Iterator[Kube]:
    """The chart with keda.enabled, where there is no KEDA; the example in more of a hurry."""
    kedakit.uninstall(shared_kube)  # of a run that was broken off
    helm = (info["helm"], "--kubeconfig", info["kubeconfig"], "-n", installed.namespace)
    upgrade = (*helm, "upgrade", "kubeembed", "charts/kubeembed", "--reuse-values")
    run(*upgrade, "--wait", "--timeout", "3m", "--set", "keda.enabled=true")
    example = yaml.safe_load((ROOT / "examples" / "keda.yaml").read_text())
    shared_kube.apply({**example, "spec": {**example["spec"], "scaling": SCALING}})
    yield shared_kube
    run(*upgrade, "--wait", "--timeout", "3m", "--set", "keda.enabled=false")


@pytest.fixture(scope="module")
def missing(kube: Kube) -> dict[str, str]:
    """What the model says before KEDA comes."""
    return kube.wait_reason(NAME, "Ready", "KedaNotInstalled", 240)


@pytest.fixture(scope="module")
def vector(kube: Kube, missing: dict[str, str]) -> np.ndarray:
    """The right one, of pods that nobody scales yet."""
    return np.array(embed(address(kube, NAME), NAME))


@pytest.fixture(scope="module")
def keda(
    kube: Kube, vector: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kube]:
    """KEDA has come, and the model is Ready."""
    kedakit.install(kube, tmp_path_factory.mktemp("keda"))
    kube.wait_ready(NAME, 240)  # or asleep, which it may be at once
    yield kube
    kube.ctl("delete", "em", NAME)
    until("nothing that waits for KEDA", lambda: not kube.list("scaledobjects"), 180)
    kedakit.uninstall(kube)


def asleep(kube: Kube) -> None:
    until("asleep", lambda: replicas(kube, NAME) == 0, 240)
    kube.wait_reason(NAME, "Ready", "Asleep", 60)


def scaling(kube: Kube, **change: object) -> None:
    kube.patch("em", NAME, {"spec": {"scaling": change}})


def schedule() -> Manifest:
    """In force for the next hour."""
    now = datetime.now(UTC)
    start, end = ((now + timedelta(hours=by)).strftime("0 %-H * * *") for by in (0, 2))
    return {"start": start, "end": end, "timeZone": "Etc/UTC", "min": 2}


def autoscaler() -> Manifest:
    """Of somebody else, for the same pods."""
    target = {"type": "Utilization", "averageUtilization": 50}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "other"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
            "minReplicas": 1,
            "maxReplicas": 2,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def test_without_keda_it_serves_and_says_so(
    missing: dict[str, str], kube: Kube, vector: np.ndarray
) -> None:
    assert "scaledobjects.keda.sh" in missing["message"]
    assert kube.condition(NAME, "Available")["status"] == "True"
    assert vector @ vector > 0.9999


def test_from_none_to_several_and_back_nobody_is_refused(keda: Kube, vector: np.ndarray) -> None:
    asleep(keda)
    with Clients(address(keda, NAME), NAME) as clients:
        until("another replica", lambda: replicas(keda, NAME) == 2, 180)
        before = len(clients.answers)
        until("their answers", lambda: len(clients.answers) > before + 8, 120)
    asleep(keda)
    assert clients.failures == []
    assert min(np.array(clients.answers) @ vector) > 0.9999
    assert scaled(keda) == 0


def test_a_schedule_has_pods_before_anybody_asks(keda: Kube) -> None:
    scaling(keda, schedules=[schedule()])
    until("as the schedule says", lambda: replicas(keda, NAME) == 2, 120)
    scaling(keda, schedules=[])
    asleep(keda)
    assert scaled(keda) == 0


def test_an_autoscaler_of_somebody_else_is_told_in_keda_s_words(keda: Kube) -> None:
    scaling(keda, min=1, idleAfter=None)
    until("awake", lambda: replicas(keda, NAME) == 1, 120)
    keda.wait_reason(NAME, "Ready", "Ready", 120)
    keda.apply(autoscaler())
    told = keda.wait_reason(NAME, "Ready", "ScaledObjectNotReady", 120)
    assert told["message"].startswith(f"ScaledObject {NAME}: AmbiguousSelector: ")
    keda.ctl("delete", "hpa", "other")
    keda.wait_reason(NAME, "Ready", "Ready", 120)
    assert scaled(keda) == 0


def test_another_mode_leaves_nothing_of_keda_s_behind(keda: Kube) -> None:
    scaling(keda, mode="Builtin", max=1)
    until("the operator's number", lambda: scaled(keda) == 1, 120)
    assert replicas(keda, NAME) == 1
    # the operator waits for KEDA to let go, but not for ever
    until("nothing of KEDA's", lambda: not keda.list("scaledobjects,hpa"), 120)
    scaling(keda, mode="KEDA", max=2)
    until("KEDA again", lambda: keda.list("hpa"), 120)
    keda.wait_reason(NAME, "Ready", "Ready", 120)
    assert scaled(keda) == 1
