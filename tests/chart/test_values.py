"""Values that are wrong are refused before anything is installed, with the place and what is wrong there."""

from collections.abc import Callable
from typing import Any

import pytest

from nodekit import ROOT

pytestmark = pytest.mark.cluster

WRONG: list[tuple[str, dict[str, Any], list[str]]] = [
    ("unknown at the top", {"replicas": 3}, ["additional properties 'replicas' not allowed"]),
    ("unknown image", {"images": {"operator": "x"}}, ["/images", "'operator' not allowed"]),
    ("image without a tag", {"images": {"runtime": "runtime"}}, ["/images/runtime", "pattern"]),
    ("pull policy", {"images": {"pullPolicy": "never"}}, ["'Always', 'IfNotPresent', 'Never'"]),
    (
        "text for a number",
        {"operator": {"replicas": "two"}},
        ["/operator/replicas", "want integer"],
    ),
    ("too many operators", {"operator": {"replicas": 50}}, ["/operator/replicas", "maximum"]),
    ("no gateway pod", {"gateway": {"replicas": 0}}, ["/gateway/replicas", "minimum"]),
    ("text for a page", {"gateway": {"page": "no"}}, ["/gateway/page", "want boolean"]),
    ("bytes for MiB", {"gateway": {"heldMiB": "64Mi"}}, ["/gateway/heldMiB", "want integer"]),
    ("yes for KEDA", {"keda": {"enabled": "yes"}}, ["/keda/enabled", "want boolean"]),
    ("log level", {"operator": {"logLevel": "loud"}}, ["/operator/logLevel", "'DEBUG'"]),
    (
        "field of a profile",
        {"profiles": {"cpu": {"gpu": 1}}},
        ["/profiles/cpu", "'gpu' not allowed"],
    ),
    (
        "quantity",
        {"profiles": {"cpu": {"resources": {"limits": {"memory": "2 GB"}}}}},
        ["/profiles/cpu/resources/limits/memory", "pattern"],
    ),
    (
        "effect of a toleration",
        {"profiles": {"cpu": {"tolerations": [{"effect": "Never"}]}}},
        ["/profiles/cpu/tolerations/0/effect", "'NoSchedule'"],
    ),
    (
        "profile that is none",
        {"defaultProfile": "l4"},
        ['"l4" is none of the profiles: cpu, nvidia'],
    ),
    (
        "hub without a scheme",
        {"weights": {"hubEndpoint": "hub"}},
        ["/weights/hubEndpoint", "pattern"],
    ),
    (
        "file in place of its certificates",
        {"weights": {"caCertificates": "/etc/ssl/ca.pem"}},
        ["/weights/caCertificates", "pattern"],
    ),
    (
        "devices in two ways",
        {
            "profiles": {
                "mine": {
                    "resources": {"limits": {"nvidia.com/gpu": 1}},
                    "resourceClaimTemplateName": "gpu",
                }
            }
        },
        ["profiles.mine: nvidia.com/gpu is one way to ask for devices", "write one of them"],
    ),
    (
        "device as a request",
        {"profiles": {"mine": {"resources": {"requests": {"nvidia.com/gpu": 1}}}}},
        ["profiles.mine.resources.requests: nvidia.com/gpu is counted in devices"],
    ),
    (
        "image and variant",
        {"profiles": {"mine": {"image": "mine:1", "variant": "cuda"}}},
        ["profiles.mine: variant chooses one of the installation's images and image is another"],
    ),
    (
        "gpu for the cpu's image",
        {"profiles": {"mine": {"resources": {"limits": {"nvidia.com/gpu": 1}}, "variant": "cpu"}}},
        ["profiles.mine: variant cpu can't use the NVIDIA devices", "write variant cuda"],
    ),
    (
        "unknown variant",
        {"profiles": {"mine": {"variant": "rocm"}}},
        ["/profiles/mine/variant", "'cuda'"],
    ),
    (
        "toleration of any value with a value",
        {"profiles": {"mine": {"tolerations": [{"operator": "Exists", "value": "a"}]}}},
        ["profiles.mine.tolerations: operator Exists goes with any value; leave out value a"],
    ),
    (
        "monitor that would be kept out",
        {"metrics": {"podMonitor": {"enabled": True}}},
        ["keep Prometheus out unless metrics.allowFrom says which pods it is"],
    ),
    ("text for rules", {"metrics": {"rules": "on"}}, ["/metrics/rules", "want object"]),
    (
        "field of the dashboard",
        {"metrics": {"dashboard": {"folder": "Models"}}},
        ["/metrics/dashboard", "'folder' not allowed"],
    ),
    (
        "peer of a policy",
        {"metrics": {"allowFrom": [{"pods": {}}]}},
        ["/metrics/allowFrom/0", "'pods' not allowed"],
    ),
    ("list of namespaces", {"watchNamespace": ["a"]}, ["/watchNamespace", "want string"]),
    ("text for a switch", {"crds": {"install": "no"}}, ["/crds/install", "want boolean"]),
]


@pytest.mark.parametrize(
    ("values", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_refused(helm: Callable[..., Any], values: dict[str, Any], words: list[str]) -> None:
    done = helm("template", "kubeembed", ROOT / "charts" / "kubeembed", values=values)
    assert done.returncode != 0
    assert [word for word in words if word not in done.stderr] == [], done.stderr
