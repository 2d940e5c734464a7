"""Weights in an image: kubelet pulls it from a real registry and mounts it, and nothing of ours fetches."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nodekit import Hub, Kube, Manifest
from registrykit import Registry, registry, trust_without_tls
from weightskit import contents

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

Model = Callable[..., Manifest]


@pytest.fixture(scope="module")
def models(info: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry"), info["hostAddress"]) as running:
        trust_without_tls(Path(info["registries"]), running.name)
        yield running


def test_a_model_in_an_image_is_served_and_nothing_is_fetched(
    kube: Kube, model: Model, hub: Hub, models: Registry, weights: Path
) -> None:
    image = models.push("models/minilm", contents(weights))
    kube.apply(model(source=f"oci://{image}"))
    status = kube.wait_served("minilm")["status"]
    assert status["model"]["dimensions"] == 384
    assert status["model"]["revision"] == image.partition("@")[2]
    assert kube.condition("minilm", "WeightsReady")["reason"] == "Mounted"
    assert (kube.list("jobs"), kube.list("pvc"), hub.log()) == ([], [], [])


def test_a_model_in_a_folder_of_an_image_is_served(
    kube: Kube, model: Model, models: Registry, weights: Path
) -> None:
    inside = {f"models/1/{path}": content for path, content in contents(weights).items()}
    image = models.push("models/nested", inside)
    kube.apply(model(source=f"oci://{image}/models/1"))
    assert kube.wait_served("minilm")["status"]["model"]["dimensions"] == 384


def test_an_image_that_is_not_there_is_named(kube: Kube, model: Model, models: Registry) -> None:
    image = f"{models.name}/models/none@sha256:{'0' * 64}"
    kube.apply(model(source=f"oci://{image}"))
    failed = kube.wait_reason("minilm", "Ready", "ImagePullFailed", 120)
    assert failed["message"].startswith(f"image {image} cannot be pulled: ")


def test_an_image_without_a_model_is_named(kube: Kube, model: Model, models: Registry) -> None:
    image = models.push("models/empty", {"README.md": b"words"})
    kube.apply(model(source=f"oci://{image}"))
    failed = kube.wait_reason("minilm", "Ready", "NoUsableFiles", 240)
    assert "has no config.json at its top level" in failed["message"]
