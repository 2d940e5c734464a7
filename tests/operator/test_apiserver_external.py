"""Mode External by the model's scale subresource, on a real API server with its HorizontalPodAutoscaler."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from loadedkit import NOWHERE
from metrickit import Metric
from nodekit import ROOT, Kube, Manifest, until
from operatorkit import SETTINGS, Operators, make_fetched, model, scaled, writes

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(600)]

EXTERNAL = model("minilm", weights={"cache": "Ephemeral"}, scaling={"mode": "External"})
OBJECTS = "deploy,svc,sa,cm,job,pdb,networkpolicy,hpa,endpointslice"


@pytest.fixture
def operators(kube: Kube, tmp_path: Path) -> Iterator[Operators]:
    """Whose models' pods nobody runs."""
    made = Operators(kube, tmp_path, {**SETTINGS, "profiles": {"cpu": NOWHERE}})
    yield made
    made.end()


@pytest.fixture
def metric(kube: Kube, tmp_path: Path) -> Iterator[Metric]:
    made = Metric(kube, tmp_path)
    yield made
    made.close()


def autoscaler() -> Manifest:
    """Of the documentation: one replica for each ten that wait, one to three of them; but down at once."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "scaling.md").read_text(), re.DOTALL)
    [shown] = [yaml.safe_load(each) for each in blocks if "HorizontalPodAutoscaler" in each]
    hasty = {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}
    return {**shown, "spec": {**shown["spec"], **hasty}}


def replicas(kube: Kube) -> int:
    return int((kube.get("deploy", "minilm") or {"spec": {"replicas": -1}})["spec"]["replicas"])


def objects(kube: Kube) -> set[str]:
    return set(kube.ctl("get", OBJECTS, "-l", "kubeembed.dev/model=minilm", "-o", "name").split())


def complete(kube: Kube) -> set[str] | None:
    """The objects, once Kubernetes has added its own: the endpoints of the Service."""
    found = objects(kube)
    return found if any(each.startswith("endpointslice") for each in found) else None


def test_an_autoscaler_decides_and_the_operator_passes_each_number_on_once(
    kube: Kube, operators: Operators, metric: Metric
) -> None:
    make_fetched(kube, EXTERNAL)
    operators.start()
    until("the Deployment", lambda: replicas(kube) == 1, 60)
    kube.ctl("scale", "em/minilm", "--replicas=1")
    metric.value = 30
    kube.apply(autoscaler())
    until("up", lambda: replicas(kube) == 3, 120)
    kube.apply(EXTERNAL)  # the document has no number, so it takes none away
    metric.value = 4
    until("down", lambda: replicas(kube) == 1, 120)
    kube.ctl("delete", "hpa", "minilm")
    kube.ctl("scale", "em/minilm", "--replicas=0")
    until("none", lambda: replicas(kube) == 0, 60)
    kube.wait_reason("minilm", "Ready", "ScaledToZero", 60)
    assert scaled(kube) == 3
    assert {each for each in writes(kube) if "embeddingmodels" in each} == {
        "patch embeddingmodels/status minilm"
    }


def test_a_number_of_others_stays_and_a_change_of_the_mode_leaves_nothing_behind(
    kube: Kube, operators: Operators
) -> None:
    make_fetched(kube, EXTERNAL)
    operators.start()
    until("the Deployment", lambda: replicas(kube) == 1, 60)
    kube.ctl("scale", "deploy/minilm", "--replicas=2")  # as a scaler of the Deployment's own does
    until("told", lambda: kube.get("em", "minilm")["status"]["replicas"]["desired"] == 2, 60)
    before = until("all of them", lambda: complete(kube), 60)
    assert scaled(kube) == 0

    builtin = {"mode": "Builtin", "min": 3, "max": 4}
    kube.patch("em", "minilm", {"spec": {"scaling": builtin}})
    until("by the operator", lambda: replicas(kube) == 3, 60)
    kube.patch("em", "minilm", {"spec": {"scaling": {"mode": "External", "min": 1, "max": 1}}})
    kube.ctl("scale", "em/minilm", "--replicas=2")
    until("by others", lambda: replicas(kube) == 2, 60)
    until("as before", lambda: objects(kube) == before, 60)
    assert scaled(kube) == 2

    fixed = {"mode": "Builtin", "min": 1, "max": 1}
    assert "write mode External" in kube.apply(model("minilm", scaling=fixed), check=False)
    kube.apply(model("minilm", scaling={**fixed, "replicas": None}))
    until("as the document says", lambda: replicas(kube) == 1, 60)
