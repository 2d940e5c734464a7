"""What keeps pods from serving is read off the model, and goes when its cause goes."""

import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from nodekit import Kube, Manifest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

Model = Callable[..., Manifest]


def broken(kube: Kube, model: Model, reason: str, profile: str) -> dict[str, str]:
    kube.apply(model(resources={"profile": profile}))
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 180)
    failed = kube.wait_reason("minilm", "Available", reason, 120)
    assert failed["status"] == "False"
    assert kube.condition("minilm")["reason"] == reason
    return failed


def heal(kube: Kube, model: Model) -> None:
    kube.apply(model(resources={"profile": "cpu"}))
    kube.wait_ready("minilm")
    assert kube.condition("minilm", "Available")["reason"] == "Serving"


def test_an_image_that_cannot_be_pulled(kube: Kube, model: Model) -> None:
    failed = broken(kube, model, "ImagePullFailed", "bad-image")
    assert "localhost/kubeembed/no-such-image:1" in failed["message"]
    heal(kube, model)


def test_a_cluster_without_the_hardware(kube: Kube, model: Model) -> None:
    kube.apply(model(resources={"profile": "gpu", "count": 64}))
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 180)
    failed = kube.wait_reason("minilm", "Available", "Unschedulable", 120)
    assert "nvidia.com/gpu" in failed["message"]
    heal(kube, model)


def test_too_little_memory(kube: Kube, model: Model) -> None:
    kube.apply(model(resources={"profile": "starved"}))
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 180)
    failed = kube.wait_reason("minilm", "Available", "OutOfMemory", 120)
    assert "memory limit" in failed["message"]
    heal(kube, model)


def test_a_crash_at_the_start_shows_the_last_words(kube: Kube, model: Model) -> None:
    kube.apply(model(recipe={"maxTokens": 4096}))
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 180)
    failed = kube.wait_reason("minilm", "Available", "InvalidRecipe", 120)
    assert "maxTokens" in failed["message"]
    heal(kube, model)


def test_api_keys_that_are_not_there_are_told_and_picked_up_when_they_are(
    kube: Kube, model: Model
) -> None:
    kube.apply(model(serving={"apiKeysSecret": "our-keys"}))
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 180)
    failed = kube.wait_reason("minilm", "Available", "SecretMissing", 120)
    assert "/our-keys/api-keys is not there: the Secret, or its key `api-keys`" in failed["message"]
    assert kube.condition("minilm")["reason"] == "SecretMissing"
    kube.ctl("create", "secret", "generic", "our-keys", "--from-literal=api-keys=ours")
    kube.wait_ready("minilm")
    url = f"{kube.address('minilm')}/v1/models"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=30)


def test_a_document_that_is_wrong_only_here_names_field_and_fix(kube: Kube, model: Model) -> None:
    kube.apply(model(resources={"profile": "h100"}))
    failed = kube.wait_reason("minilm", "Ready", "InvalidSpec", 60)
    assert "spec.resources.profile" in failed["message"]
    assert "cpu" in failed["message"]
    heal(kube, model)


def test_what_is_not_built_yet_says_so(kube: Kube, model: Model) -> None:
    kube.apply(model(model={"trustRemoteCode": True}))
    failed = kube.wait_reason("minilm", "Ready", "NotSupportedYet", 60)
    assert "trustRemoteCode" in failed["message"]
    assert kube.list("deployments") == []
