"""What the source of the weights does wrong is read off the model, and heals by itself."""

from collections.abc import Callable
from typing import Any

import pytest

from nodekit import MINILM, Hub, Kube, Manifest, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

Model = Callable[..., Manifest]

FAULTS: dict[str, tuple[Manifest, str, str]] = {
    "401": ({"status": 401}, "SourceUnauthorized", "credentialsSecret"),
    "403": ({"status": 403}, "SourceForbidden", MINILM),
    "404": ({"status": 404}, "SourceNotFound", MINILM),
    "429": ({"status": 429, "headers": {"Retry-After": "5"}}, "SourceRateLimited", "5"),
    "500": ({"status": 500}, "SourceUnavailable", "500"),
    "truncated body": (
        {"path": "*model.safetensors", "truncate": 1000},
        "SourceTruncated",
        "model.safetensors",
    ),
    "wrong hash": ({"path": "*model.safetensors", "corrupt": 1000}, "ChecksumMismatch", "sha256"),
}

#: Serves nothing, so that no pod takes the cores: these tests are about weights.
ASLEEP = {"scaling": {"mode": "External", "replicas": 0}}


@pytest.mark.parametrize(("fault", "reason", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_of_the_hub_is_named_and_heals_by_itself(
    kube: Kube, model: Model, hub: Hub, fault: Manifest, reason: str, words: str
) -> None:
    hub.faults(fault)
    kube.apply(model(weights={"cache": "Shared"}, **ASLEEP))
    failed = kube.wait_reason("minilm", "WeightsReady", reason, 120)
    assert failed["status"] == "False"
    assert words in failed["message"]
    kube.wait_reason("minilm", "Ready", reason, 120)  # a retry between two reads says Fetching
    hub.faults()
    assert kube.wait_reason("minilm", "WeightsReady", "Fetched", 300)["status"] == "True"


def test_a_killed_fetch_goes_on_where_it_was(kube: Kube, model: Model, hub: Hub) -> None:
    size = 90_868_376
    hub.faults({"path": "*model.safetensors", "rate": 15_000_000})
    kube.apply(model(**ASLEEP))
    until("half of it", lambda: hub.bytes_sent() > size / 2, 120)
    kube.ctl("delete", "pod", "-l", "app.kubernetes.io/component=weights", "--force")
    hub.faults()
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 240)
    # what was in flight when it died may be sent again, the half that was on disk may not
    assert hub.bytes_sent() < size * 1.2


def test_one_source_is_fetched_once(kube: Kube, model: Model, hub: Hub) -> None:
    kube.apply(model(**ASLEEP))
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 240)
    hub.reset()
    kube.apply(model("second", **ASLEEP))
    kube.wait_reason("second", "WeightsReady", "Fetched", 240)
    kube.ctl("delete", "em", "minilm")
    kube.apply(model(**ASLEEP))
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 240)
    assert hub.bytes_sent() == 0


def test_another_source_is_fetched_beside_what_serves(kube: Kube, model: Model, hub: Hub) -> None:
    kube.apply(model(**ASLEEP))
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 240)
    [before] = kube.fetches()
    served = kube.get("deployment", "minilm")["metadata"]["generation"]
    hub.faults({"path": "*acme/other*", "status": 500})
    kube.apply(model(source="hf://acme/other", **ASLEEP))
    kube.wait_reason("minilm", "WeightsReady", "SourceUnavailable", 120)
    assert kube.get("deployment", "minilm")["metadata"]["generation"] == served
    hub.faults()
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 300)
    [after] = kube.fetches()
    assert after["metadata"]["name"] != before["metadata"]["name"]
    assert kube.get("deployment", "minilm")["metadata"]["generation"] > served


def test_a_full_disk_is_named_and_heals_when_there_is_room(
    kube: Kube, model: Model, small_volume: Callable[[str], None]
) -> None:
    kube.apply(model(weights={"claim": "small"}, **ASLEEP))
    failed = kube.wait_reason("minilm", "WeightsReady", "DiskFull", 120)
    assert "free" in failed["message"]
    small_volume("200M")
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 300)


def test_a_missing_secret_is_named(kube: Kube, model: Model) -> None:
    kube.apply(model(model={"credentialsSecret": "hf-token"}, **ASLEEP))
    failed = kube.wait_reason("minilm", "WeightsReady", "SecretMissing", 120)
    assert "hf-token" in failed["message"]
    kube.ctl("create", "secret", "generic", "hf-token", "--from-literal=token=hf_x")
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 300)


def test_weights_on_a_claim_are_served_where_they_lie(kube: Kube, model: Model, hub: Hub) -> None:
    kube.apply(model(**ASLEEP))
    fetched = kube.wait_reason("minilm", "WeightsReady", "Fetched", 240)
    key = kube.get("em", "minilm")["status"]["weights"]["key"]
    hub.reset()
    kube.apply(model("mounted", source=f"pvc://kubeembed-weights/{key}"))
    ready = kube.wait_served("mounted")
    assert ready["status"]["model"]["dimensions"] == 384
    assert hub.log() == []
    assert fetched["status"] == "True"


def test_an_ephemeral_copy_is_fetched_by_the_pod_at_the_resolved_commit(
    kube: Kube, model: Model, hub: Hub
) -> None:
    kube.apply(model(weights={"cache": "Ephemeral"}))
    status: dict[str, Any] = kube.wait_served("minilm")["status"]
    commits = {
        row["path"].split("/resolve/")[1][:40] for row in hub.log() if "/resolve/" in row["path"]
    }
    assert commits == {status["model"]["revision"]}
    assert kube.list("pvc") == []


def told(kube: Kube) -> list[str]:
    """The reasons of the Events about models."""
    events = kube.list("events")
    return [e["reason"] for e in events if e["involvedObject"]["kind"] == "EmbeddingModel"]


def test_an_event_tells_each_change_once(kube: Kube, model: Model, hub: Hub) -> None:
    hub.faults({"status": 401})
    kube.apply(model(**ASLEEP))
    kube.wait_reason("minilm", "WeightsReady", "SourceUnauthorized", 120)
    hub.faults()
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 300)
    # sent beside the status, and maybe after it
    until("the last Event", lambda: "ScaledToZero" in told(kube), 60)
    ours = told(kube)
    assert ours.count("SourceUnauthorized") == 1, ours
    assert ours.count("ScaledToZero") == 1, ours
