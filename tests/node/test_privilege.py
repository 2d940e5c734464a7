"""Operator and gateway may do what they do and no more. Runs last: it reads what all others made them do."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from nodekit import SYSTEM, Kube

pytestmark = [pytest.mark.cluster, pytest.mark.last, pytest.mark.timeout(600)]

COMPONENTS = ("operator", "gateway")

Requests = Callable[[str], list[dict[str, Any]]]
Rule = tuple[str, str, str]  # API group, resource, verb


def granted(kube: Kube, component: str) -> set[Rule]:
    """What the chart's roles grant to the component's ServiceAccount."""
    labels = f"app.kubernetes.io/name=kubeembed,app.kubernetes.io/component={component}"
    rules: list[dict[str, Any]] = []
    for kind in ("clusterroles", "roles"):
        roles = json.loads(kube.ctl("get", kind, "-l", labels, "-o", "json"))["items"]
        rules += [rule for role in roles for rule in role["rules"]]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule.get("apiGroups", ())
        for resource in rule.get("resources", ())
        for verb in rule["verbs"]
    }


def used(rows: list[dict[str, Any]]) -> set[Rule]:
    found = set()
    for row in rows:
        target = row.get("objectRef")
        if target and "resource" in target:
            sub = f"/{target['subresource']}" if "subresource" in target else ""
            thing = (target.get("apiGroup", ""), target["resource"] + sub)
            found.add((*thing, row["verb"]))
            # server-side apply of an object that does not exist yet needs the right to create it
            if row.get("responseStatus", {}).get("code") == 201:
                found.add((*thing, "create"))
    return found


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_right_is_used(installed: Kube, requests_of: Requests, component: str) -> None:
    rights = granted(installed, component)
    assert rights
    assert rights - used(requests_of(component)) == set()


@pytest.mark.parametrize("component", COMPONENTS)
def test_none_is_ever_refused(installed: Kube, requests_of: Requests, component: str) -> None:
    refused = [
        f"{row['verb']} {row['requestURI']}"
        for row in requests_of(component)
        if row.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"
    ]
    assert refused == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_no_secret_is_ever_read(requests_of: Requests, component: str) -> None:
    assert [
        row
        for row in requests_of(component)
        if (row.get("objectRef") or {}).get("resource") == "secrets"
    ] == []


def test_every_namespace_of_ours_is_restricted(installed: Kube) -> None:
    found = installed.get("namespace", SYSTEM)["metadata"]["labels"]
    assert found["pod-security.kubernetes.io/enforce"] == "restricted"
