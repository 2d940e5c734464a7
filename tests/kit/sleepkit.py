"""examples/sleepy.yaml on the node, in more of a hurry, and where it is between its pods and the gateway."""

from typing import Any

import yaml

from nodekit import ROOT, Kube, Manifest

NAME = "sleepy"


def apply_sleepy(kube: Kube, **scaling: Any) -> Manifest:
    """Ready. scaling: what differs from the example's, beside idleAfter."""
    example = yaml.safe_load((ROOT / "examples" / f"{NAME}.yaml").read_text())
    hurried = {"min": 0, "idleAfter": "5s", **scaling}
    kube.apply({**example, "spec": {**example["spec"], "scaling": hurried}})
    return kube.wait_ready(NAME)


def address(kube: Kube, service: str = NAME) -> str:
    return kube.address(service)


def replicas(kube: Kube, name: str = NAME) -> int:
    return int(kube.get("deployment", name)["spec"]["replicas"])


def leads(kube: Kube) -> bool:
    """Whether its Service leads to the gateway."""
    return kube.get("endpointslice", f"{NAME}-activator") is not None
