"""The operator may do what it does and nothing else. Runs last: it reads what all others made it do."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from nodekit import SYSTEM, Kube

pytestmark = [pytest.mark.cluster, pytest.mark.last, pytest.mark.timeout(600)]

OPERATOR = "app.kubernetes.io/name=kubeembed,app.kubernetes.io/component=operator"

Rule = tuple[str, str, str]  # API group, resource, verb


def granted(kube: Kube) -> set[Rule]:
    """What the chart's roles grant to the operator's ServiceAccount."""
    rules: list[dict[str, Any]] = []
    for kind in ("clusterroles", "roles"):
        roles = json.loads(kube.ctl("get", kind, "-l", OPERATOR, "-o", "json"))["items"]
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


def test_every_right_of_the_operator_is_used(
    installed: Kube, audit: Callable[[], list[dict[str, Any]]]
) -> None:
    rights = granted(installed)
    assert rights
    assert rights - used(audit()) == set()


def test_the_operator_is_never_refused(
    installed: Kube, audit: Callable[[], list[dict[str, Any]]]
) -> None:
    refused = [
        f"{row['verb']} {row['requestURI']}"
        for row in audit()
        if row.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"
    ]
    assert refused == []


def test_no_secret_is_ever_read(audit: Callable[[], list[dict[str, Any]]]) -> None:
    assert [
        row for row in audit() if (row.get("objectRef") or {}).get("resource") == "secrets"
    ] == []


def test_every_namespace_of_ours_is_restricted(installed: Kube) -> None:
    found = installed.get("namespace", SYSTEM)["metadata"]["labels"]
    assert found["pod-security.kubernetes.io/enforce"] == "restricted"
