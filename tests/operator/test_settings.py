"""The administrator's file: defaults, and errors that name the field."""

from pathlib import Path
from typing import Any

import pytest

from kubeembed_operator.settings import Hardware, Settings, SettingsError

LEAST: dict[str, Any] = {
    "images": {"runtime": "r:1", "control": "c:1"},
    "profiles": {"cpu": {}},
}


def test_the_least_file_has_defaults_for_the_rest() -> None:
    assert Settings.parse(LEAST).model_dump() == {
        "images": {
            "runtime": "r:1",
            "control": "c:1",
            "pull_policy": "IfNotPresent",
            "pull_secrets": (),
        },
        "namespace": "",
        "default_profile": "cpu",
        "profiles": {
            "cpu": {
                "resources": {"requests": {}, "limits": {}},
                "node_selector": {},
                "tolerations": (),
                "runtime_class_name": None,
                "priority_class_name": None,
                "resource_claim_template_name": None,
                "image": None,
                "env": {},
            }
        },
        "weights": {
            "size": "100Gi",
            "unused_ttl": "7d",
            "storage_class_name": None,
            "hub_endpoint": None,
            "ca_certificates": None,
            "node": None,
        },
        "admin_from": (),
        "gateway": None,
        "keda": None,
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"images": {"runtime": "r:1"}}, "images.control: Field required"),
        ({"defaultProfile": "l4"}, "defaultProfile: 'l4' is no profile; have: ['cpu']"),
        ({"profile": {}}, "profile: Extra inputs are not permitted"),
        (
            {"keda": {"url": "kubeembed-operator"}},
            "keda.url: String should match pattern '^https?://[^/ ]+$'",
        ),
        (
            {"profiles": {"cpu": {"resources": {"limits": {"memory": "2GB"}}}}},
            "profiles.cpu.resources.limits: Value error, '2GB' is no quantity",
        ),
    ],
    ids=["missing", "unknown profile", "unknown field", "no address", "no quantity"],
)
def test_an_error_names_the_field(change: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.parse({**LEAST, **change}, "settings.yaml")
    assert f"settings.yaml: {told}" in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read"):
        Settings.load(tmp_path / "nowhere.yaml")


def test_a_count_multiplies_what_a_profile_says() -> None:
    one = Hardware.model_validate({"requests": {"cpu": "500m"}, "limits": {"nvidia.com/gpu": 1}})
    assert one.times(3) == Hardware(requests={"cpu": "1500m"}, limits={"nvidia.com/gpu": "3"})
    assert one.times(1) == one


@pytest.mark.parametrize(
    ("told", "seconds"), [("7d", 604_800), ("1h30m", 5400), ("0s", 0), (None, None)]
)
def test_how_long_an_unused_copy_stays(told: str | None, seconds: int | None) -> None:
    assert (
        Settings.parse({**LEAST, "weights": {"unusedTTL": told}}).weights.unused_seconds == seconds
    )
