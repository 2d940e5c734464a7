"""The chart as Helm renders it, with values as a person would write them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodekit import ROOT, run

CHART = ROOT / "charts" / "kubeembed"

Manifest = dict[str, Any]
Helm = Callable[..., subprocess.CompletedProcess[str]]
Render = Callable[..., list[Manifest]]


@pytest.fixture(scope="session")
def helm() -> Helm:
    """helm("template", ..., values={...}): the ended process; the namespace is `system`."""
    program = run(sys.executable, "dev/cluster", "tool", "helm").strip()

    def call(
        *words: str | Path, values: Manifest | None = None
    ) -> subprocess.CompletedProcess[str]:
        given = () if values is None else ("--values", "-")
        return subprocess.run(
            [program, *map(str, words), "--namespace", "system", *given],
            input=yaml.safe_dump(values),
            capture_output=True,
            text=True,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """render({...values}, "profiles/gke.yaml"): the release `kubeembed` as manifests."""

    def manifests(values: Manifest | None = None, *files: str) -> list[Manifest]:
        chosen = [word for file in files for word in ("--values", str(CHART / file))]
        done = helm("template", "kubeembed", CHART, *chosen, values=values)
        assert done.returncode == 0, done.stderr
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    return manifests


@pytest.fixture(scope="session")
def only() -> Callable[..., Manifest]:
    """only(manifests, kind, component): the one manifest of that kind, of the operator or another part."""

    def find(manifests: list[Manifest], kind: str, component: str = "operator") -> Manifest:
        (found,) = [
            each
            for each in manifests
            if each["kind"] == kind and component_of(each) in (component, None)
        ]
        return found

    return find


def component_of(manifest: Manifest) -> str | None:
    """None where it is of the installation as a whole."""
    labels: dict[str, str] = manifest["metadata"].get("labels") or {}
    return labels.get("app.kubernetes.io/component")
