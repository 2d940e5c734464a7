"""Models, settings and children as the API server has them, for tests of the pure rooms; and a real one."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_operator.settings import Settings
from loadedkit import Node, Server
from nodekit import RESTRICTED, Kube, until
from operatorkit import SETTINGS, Operators

Manifest = dict[str, Any]

UID = "7d5b2a60-0000-4000-8000-000000000001"


@pytest.fixture
def settings() -> Settings:
    return Settings.parse(
        {
            "images": {"runtime": "kubeembed/runtime:1", "control": "kubeembed/control:1"},
            "profiles": {
                "cpu": {
                    "resources": {
                        "requests": {"cpu": "1", "memory": "1Gi"},
                        "limits": {"memory": "2Gi"},
                    }
                },
                "l4": {
                    "resources": {"limits": {"nvidia.com/gpu": 1}},
                    "nodeSelector": {"gpu": "l4"},
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                    "runtimeClassName": "nvidia",
                    "image": "kubeembed/runtime:1-cuda",
                    "env": {"B": "2", "A": "1"},
                },
            },
            "weights": {"hubEndpoint": "http://hub.test"},
        }
    )


@pytest.fixture
def document() -> Callable[..., Manifest]:
    """A model as the API server has it; keywords replace fields of its spec."""

    def build(*, name: str = "minilm", annotations: Any = None, **spec: Any) -> Manifest:
        return {
            "apiVersion": "kubeembed.dev/v1alpha1",
            "kind": "EmbeddingModel",
            "metadata": {
                "name": name,
                "namespace": "search",
                "uid": UID,
                "generation": 3,
                "resourceVersion": "7",
                **({"annotations": annotations} if annotations else {}),
            },
            "spec": {"model": {"source": "hf://acme/minilm", "revision": "main"}, **spec},
        }

    return build


@pytest.fixture
def model(document: Callable[..., Manifest]) -> Callable[..., EmbeddingModel]:
    def build(**fields: Any) -> EmbeddingModel:
        return parse(document(**fields))

    return build


@pytest.fixture
def kube(api: dict[str, Any]) -> Iterator[Kube]:
    made = Kube(api, f"op-{uuid.uuid4().hex[:6]}")
    made.ctl("create", "namespace", made.namespace)
    made.ctl("label", "namespace", made.namespace, RESTRICTED)
    until("the default account", lambda: made.get("sa", "default"), 60)
    yield made
    made.ctl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture
def operators(kube: Kube, tmp_path: Path) -> Iterator[Operators]:
    made = Operators(kube, tmp_path, SETTINGS)
    yield made
    made.end()


@pytest.fixture
def pods(kube: Kube) -> Iterator[Server]:
    """What answers for the admin ports of pods that nobody runs."""
    node, server = Node(kube), Server(kube.info["hostAddress"])
    yield server
    server.close()
    node.close()
