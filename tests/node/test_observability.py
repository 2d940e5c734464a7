"""What a person sees of a real installation: a Prometheus that finds all pods, and the gateway's page."""

import json
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from browserkit import browsing, shot, texts_of
from nodekit import ROOT, SYSTEM, Kube, Manifest, until
from prometheuskit import Prometheus, scraping

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

#: What each program exports whatever has been asked of it.
EXPORTED = {
    "kubeembed-operator": "kubeembed_reconciles_total",
    "kubeembed-gateway": "kubeembed_gateway_models",
    "kubeembed-models": "kubeembed_model_info",
}


@pytest.fixture(scope="module")
def minilm(shared_kube: Kube, model: Callable[..., Manifest]) -> Manifest:
    shared_kube.apply(model("lost", source="hf://acme/none"), model())
    shared_kube.wait_reason("lost", "Ready", "SourceUnauthorized", 240)
    return shared_kube.wait_served("minilm")


def monitors(info: dict[str, Any]) -> list[Manifest]:
    """The chart's PodMonitors, which this cluster has no controller for."""
    asked = {"podMonitor": {"enabled": True}, "allowFrom": [{"podSelector": {}}]}
    command = [info["helm"], "template", "kubeembed", "charts/kubeembed", "-n", SYSTEM]
    command += ["--show-only", "templates/podmonitor.yaml", "--values", "-"]
    values = yaml.safe_dump({"metrics": asked})
    done = subprocess.run(
        command, input=values, capture_output=True, text=True, check=True, cwd=ROOT
    )
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def scrape(kube: Kube, monitor: Manifest) -> dict[str, Any]:
    """A PodMonitor as the Prometheus operator translates it, as far as ours go, for the pods there are."""
    spec = monitor["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    everywhere = "namespaceSelector" in spec
    where = ["-A"] if everywhere else ["-n", monitor["metadata"]["namespace"]]
    pods = json.loads(kube.ctl("get", "pods", *where, "-l", selector(spec), "-o", "json"))["items"]
    return {
        "job_name": monitor["metadata"]["name"],
        "honor_labels": endpoint.get("honorLabels", False),
        "static_configs": [
            static(pod, endpoint["port"], spec.get("podTargetLabels", ()))
            for pod in pods
            if "podIP" in pod["status"]
        ],
    }


def selector(spec: Manifest) -> str:
    """As kubectl has it."""
    equal = [f"{name}={value}" for name, value in spec["selector"].get("matchLabels", {}).items()]
    among = [
        f"{each['key']} in ({','.join(each['values'])})"
        for each in spec["selector"].get("matchExpressions", ())
    ]
    return ",".join([*equal, *among])


def static(pod: Manifest, port: str, more: Iterable[str]) -> dict[str, Any]:
    """port: the name of one of its containers'. more: labels of the pod that the figures get."""
    ports = [each for container in pod["spec"]["containers"] for each in container.get("ports", ())]
    (number,) = [each["containerPort"] for each in ports if each.get("name") == port]
    head = pod["metadata"]
    labels = {"namespace": head["namespace"], "pod": head["name"]}
    labels |= {re.sub(r"[^a-zA-Z0-9]", "_", name): head["labels"][name] for name in more}
    return {"targets": [f"{pod['status']['podIP']}:{number}"], "labels": labels}


def test_a_prometheus_finds_all_pods_by_the_monitors_of_the_chart(
    shared_kube: Kube, minilm: Manifest, tmp_path: Path
) -> None:
    namespace = shared_kube.namespace
    configs = [scrape(shared_kube, each) for each in monitors(shared_kube.info)]
    with scraping(tmp_path, ROOT / "charts" / "kubeembed" / "rules.yaml", configs) as made:

        def found() -> bool:
            return bool(made.ask(f'kubeembed_model_info{{namespace="{namespace}"}}'))

        until("the model's pod is scraped", found, 120)
        for job, figure in EXPORTED.items():
            until(figure, lambda job=job, figure=figure: made.ask(f'{figure}{{job="{job}"}}'), 60)
        _check(made, namespace)


def _check(made: Prometheus, namespace: str) -> None:
    of = f'namespace="{namespace}"'
    (info,) = made.ask(f"kubeembed_model_info{{{of}}}")
    assert info["metric"]["kubeembed_dev_model"] == "minilm"
    ready = {"minilm": ("Ready", "1"), "lost": ("SourceUnauthorized", "0")}
    until("both told", lambda: _ready(made, of) == ready, 60)
    assert [
        each["value"][1] for each in made.ask(f'kubeembed_model_replicas{{{of},model="minilm"}}')
    ] == ["1"]
    until("the alert", lambda: ("KubeEmbedFetchFailing", "lost") in alerts(made, namespace), 120)
    # Pending from the first evaluation on, which may come before the first scrape.
    absent = "KubeEmbedOperatorAbsent"
    until("an operator is seen", lambda: absent not in {name for name, _ in alerts(made)}, 120)


def _ready(made: Prometheus, of: str) -> dict[str, tuple[str, str]]:
    return {
        each["metric"]["model"]: (each["metric"]["reason"], each["value"][1])
        for each in made.ask(f'kubeembed_model_condition{{condition="Ready",{of}}}')
    }


def alerts(made: Prometheus, namespace: str | None = None) -> set[tuple[str, str | None]]:
    """Names, and the models that they are about: of one namespace, or all."""
    labels = [each["labels"] for each in made.api("alerts")["alerts"]]
    here = [each for each in labels if namespace in (None, each.get("namespace"))]
    return {(each["alertname"], each.get("model")) for each in here}


async def test_the_page_of_the_installation_shows_and_tries_its_models(
    shared_kube: Kube, minilm: Manifest, installed: Kube, tmp_path: Path
) -> None:
    front = f"http://{installed.get('svc', 'kubeembed-gateway')['spec']['clusterIP']}"
    async with browsing() as browser:
        tab = await browser.open(f"{front}/ui/")
        await tab.fill("#find", f"{shared_kube.namespace}/")
        assert [each.rpartition("/")[2] for each in await texts_of(tab, ".model h3")] == [
            "lost",
            "minilm",
        ]
        (trouble,) = await texts_of(tab, ".trouble")
        assert "SourceUnauthorized" in trouble
        assert (
            "Way out: put valid ones into the Secret that spec.model.credentialsSecret names"
            in trouble
        )
        mine = [
            name
            for name in await texts_of(tab, "[name=model] option")
            if name in ("minilm", f"{shared_kube.namespace}/minilm")
        ]
        await tab.select_option("[name=model]", mine[-1])
        await tab.click("text=Compare")
        await tab.wait_for_selector("#similar td")
        assert "3 texts, 384 dimensions" in await tab.inner_text("#said")
        cells = [float(each) for each in await texts_of(tab, "#similar tbody tr:first-child td")]
        await shot(tab, tmp_path, "page")
    own, bird, bank = cells
    assert own == 1.0
    assert bird > bank
    assert browser.logged == []
