"""Dashboard and alerts: every figure is exported, every query answered, every alert fires, and is explained.

A real Prometheus scrapes what the programs really export.
"""

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from debkit import prometheus
from figureskit import filled, front_door, operator, served
from kubeembed_gateway.metrics import Metrics as GatewayMetrics
from kubeembed_operator.cachemetrics import CacheFigures
from kubeembed_operator.metrics import Metrics as OperatorMetrics
from kubeembed_operator.modelmetrics import ModelFigures
from kubeembed_runtime.api.metrics import Metrics as RuntimeMetrics
from nodekit import ROOT, until
from prometheuskit import RATE_INTERVAL, Prometheus, scraping

CHART = ROOT / "charts" / "kubeembed"
RULES = CHART / "rules.yaml"
PAGE = (ROOT / "docs" / "observability.md").read_text()
DASHBOARD = json.loads((CHART / "dashboards" / "kubeembed.json").read_text())
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

NAME = re.compile(r"\bkubeembed_[a-z_]+")
#: Labels that expressions name and that are called like figures.
LABELS = {"kubeembed_dev_model"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def queries() -> Iterator[tuple[str, str]]:
    """Of the dashboard: where each stands, and the expression with Grafana's variables filled in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets") or ():
            expression = target["expr"].replace("$__rate_interval", RATE_INTERVAL)
            chosen = expression.replace("$namespace", ".*").replace("$model", ".*")
            yield f"{panel['title']} {target['refId']}", chosen


def named() -> set[str]:
    """All figures that dashboard and alerts read."""
    variables = [each["query"] for each in DASHBOARD["templating"]["list"]]
    texts = [*variables, *(text for _, text in queries()), *(rule["expr"] for rule in ALERTS)]
    return {name for text in texts for name in NAME.findall(text)} - LABELS


def exported(registry: CollectorRegistry) -> set[str]:
    return {
        family.name + suffix
        for family in registry.collect()
        for suffix in SUFFIXES.get(family.type, ("",))
    }


def test_every_figure_is_exported_by_one_of_the_programs() -> None:
    operators = OperatorMetrics().registry
    operators.register(CacheFigures(store := filled()))
    operators.register(ModelFigures(store))
    registries = (operators, GatewayMetrics().registry, RuntimeMetrics("1")._registry)
    known: set[str] = set().union(*map(exported, registries))
    assert named() - known == set()
    assert len(named()) > 25


def test_every_alert_says_what_to_type_and_is_in_the_page() -> None:
    lines = [line for line in PAGE.splitlines() if "| `KubeEmbed" in line]
    rows = [line.split("|")[1].strip(" `") for line in lines]
    assert rows == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"].endswith(".")
        assert re.match(r"(Type `|Look at )", rule["annotations"]["runbook"]), rule["alert"]


def test_panels_have_each_a_place_and_a_description() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken))
    assert [
        each["title"] for each in panels if each["type"] != "row" and not each["description"]
    ] == []


@pytest.mark.cluster
def test_alerts_and_dashboard_come_when_asked_for_as_they_are_in_the_chart(render: Render) -> None:
    assert not [each for each in render() if "dashboard" in each["metadata"]["name"]]
    labels, annotations = {"release": "monitoring"}, {"grafana_folder": "Models"}
    asked = {
        "rules": {"enabled": True, "labels": labels},
        "dashboard": {"enabled": True, "annotations": annotations},
    }
    manifests = render({"metrics": asked})
    (rule,) = [each for each in manifests if each["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load(RULES.read_text())
    assert rule["metadata"]["labels"].items() >= labels.items()
    (board,) = [each for each in manifests if each["metadata"]["name"] == "kubeembed-dashboard"]
    assert json.loads(board["data"]["kubeembed.json"]) == DASHBOARD
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert board["metadata"]["annotations"] == annotations


@pytest.mark.cluster
def test_values_of_the_page_install_all_of_it(render: Render) -> None:
    (values,) = re.findall(r"<<EOF\n(.*?)EOF", PAGE, re.DOTALL)
    installed = [each["kind"] for each in render(yaml.safe_load(values))]
    assert installed.count("PodMonitor") == 3
    assert installed.count("PrometheusRule") == 1
    assert installed.count("ConfigMap") == 2


@pytest.mark.programs
def test_alerts_fire_for_what_they_are_about(tmp_path: Path) -> None:
    for file in (RULES, ROOT / "tests" / "chart" / "rules_test.yaml"):
        (tmp_path / file.name).write_text(file.read_text())
    for words in (("check", "rules", "rules.yaml"), ("test", "rules", "rules_test.yaml")):
        command = [prometheus("promtool"), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_is_without_a_test() -> None:
    tested = (ROOT / "tests" / "chart" / "rules_test.yaml").read_text()
    assert [rule["alert"] for rule in ALERTS if rule["alert"] not in tested] == []


@pytest.mark.programs
async def test_every_query_is_answered_by_a_prometheus_that_scrapes_all_programs(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        parts = (operator(), front_door(), served(tmp_path))
        targets = [await stack.enter_async_context(part) for part in parts]
        with scraping(tmp_path, RULES, [target.config() for target in targets]) as made:
            asked = asyncio.create_task(asyncio.to_thread(answered, made))
            await asyncio.wait([asked])
    await asked  # fails where nothing is open any more


def answered(made: Prometheus) -> None:
    """Asserts that all is scraped, each query has data, and rules are evaluated without an error."""
    until("all scraped twice", lambda: len(made.ask("count_over_time(up[10s]) > 2")) == 3, 30)
    assert [each["metric"]["job"] for each in made.ask("up == 0")] == []
    with contextlib.suppress(AssertionError):
        until("data for all", lambda: not silent(made), 15)
    assert silent(made) == []
    (device,) = made.ask("kubeembed_device_seconds_total")
    assert device["metric"]["kubeembed_dev_model"] == "minilm"
    assert {each["metric"]["namespace"] for each in made.ask("kubeembed_model_condition")} == {
        "search"
    }
    rules = [rule for group in made.api("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule["health"] for rule in rules} == {
        rule["alert"]: "ok" for rule in ALERTS
    }
    pending = {rule["name"] for rule in rules if rule["state"] != "inactive"}
    assert pending >= {"KubeEmbedModelNotReady", "KubeEmbedAdapterFailing"}


def silent(made: Prometheus) -> list[str]:
    """Panels and figures without data. Numbers that are none (no traffic in a window) are not data."""
    asked = dict(queries()) | {name: f"count({name})" for name in named()}
    return [
        where
        for where, expression in asked.items()
        if all(sample["value"][1] == "NaN" for sample in made.ask(expression))
    ]
