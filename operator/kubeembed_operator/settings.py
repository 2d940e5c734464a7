"""What the administrator decided: images, profiles, the shared cache. YAML -> frozen values.

Read once at the start from the ConfigMap that the chart mounts. An error names the field, because the
one who reads it is looking at a pod that does not start.
"""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from kubeembed_api.errors import KubeEmbedError
from kubeembed_operator.quantities import format_quantity, parse_quantity

#: Of a duration.
UNIT_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


class SettingsError(KubeEmbedError):
    """The settings file is wrong. Names the file, the field and what is wrong with it."""


class _Value(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Images(_Value):
    """Where the pods' images come from."""

    runtime: str = Field(min_length=1)
    control: str = Field(min_length=1)
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


class Hardware(_Value):
    """Requests and limits of one unit of a profile, as Kubernetes spells them."""

    requests: dict[str, str] = {}
    limits: dict[str, str] = {}

    @field_validator("requests", "limits", mode="before")
    @classmethod
    def _quantities(cls, value: Any) -> Any:
        """YAML reads `nvidia.com/gpu: 1` as a number; a quantity is a string."""
        if not isinstance(value, dict):
            return value
        for quantity in value.values():
            parse_quantity(str(quantity))
        return {name: str(quantity) for name, quantity in value.items()}

    @model_validator(mode="after")
    def _possible(self) -> "Hardware":
        for name, quantity in self.requests.items():
            limit = self.limits.get(name)
            if limit is None and _is_extended(name):
                raise ValueError(f"{name} is counted in devices: write it under limits")
            if limit is not None and parse_quantity(quantity) > parse_quantity(limit):
                raise ValueError(f"requests.{name} {quantity} is more than limits.{name} {limit}")
        for name, quantity in self.limits.items():
            if _is_extended(name) and parse_quantity(quantity) % 1:
                raise ValueError(f"limits.{name} is a number of devices, not {quantity}")
        return self

    def times(self, count: int) -> "Hardware":
        return Hardware(
            requests={name: _times(value, count) for name, value in self.requests.items()},
            limits={name: _times(value, count) for name, value in self.limits.items()},
        )


def _is_extended(resource: str) -> bool:
    """Whether it is one of a device plugin: nvidia.com/gpu, nvidia.com/mig-1g.10gb."""
    return "/" in resource and not resource.startswith("kubernetes.io/")


class Profile(_Value):
    """A kind of hardware under a name that documents use."""

    resources: Hardware = Hardware()
    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, Any], ...] = ()
    runtime_class_name: str | None = None
    priority_class_name: str | None = None
    resource_claim_template_name: str | None = None
    image: str | None = None
    env: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_way_to_devices(self) -> "Profile":
        devices = sorted(filter(_is_extended, {**self.resources.requests, **self.resources.limits}))
        if devices and self.resource_claim_template_name:
            raise ValueError(
                f"{devices[0]} is one way to ask for devices and resourceClaimTemplateName another;"
                " write one of them"
            )
        return self


class NodeCache(_Value):
    """A folder that every node has, or a mount there; on it lie the copies of the Node cache."""

    path: str = Field(pattern=r"^/[^/].*[^/]$")
    size: str = "100Gi"


class SharedCache(_Value):
    """The claim that is made where a namespace has none; the hub that fetches ask, and the CAs they trust.

    unused_ttl: how long a copy that no model uses stays, as in 7d; None: for ever.
    """

    size: str = "100Gi"
    unused_ttl: str | None = Field(default="7d", alias="unusedTTL", pattern=r"^([0-9]+[dhms])+$")
    storage_class_name: str | None = None
    hub_endpoint: str | None = None
    ca_certificates: str | None = None
    node: NodeCache | None = None

    @property
    def unused_seconds(self) -> int | None:
        if self.unused_ttl is None:
            return None
        parts = re.findall(r"([0-9]+)([dhms])", self.unused_ttl)
        return sum(int(number) * UNIT_SECONDS[unit] for number, unit in parts)


class Gateway(_Value):
    """Where the gateway's pods are, and which they are: what holds requests while a model sleeps."""

    namespace: str = Field(min_length=1)
    labels: dict[str, str] = Field(min_length=1)


class Keda(_Value):
    """url: of the operator's Service, where KEDA asks how loaded a model is."""

    url: str = Field(pattern=r"^https?://[^/ ]+$")


class Settings(_Value):
    """All of it. `namespace` is the only one that is watched; empty: every namespace.

    `admin_from`: peers, as of a NetworkPolicy, that reach the pods' admin ports; the operator's own pods are
    among them. Empty: no policies are made, as for an operator that runs outside the cluster. `gateway`: None
    where the installation has none, so that no model may sleep. `keda`: None where it scales no model.
    """

    images: Images
    namespace: str = ""
    default_profile: str = "cpu"
    profiles: dict[str, Profile] = Field(min_length=1)
    weights: SharedCache = SharedCache()
    admin_from: tuple[dict[str, Any], ...] = ()
    gateway: Gateway | None = None
    keda: Keda | None = None

    @classmethod
    def load(cls, path: Path) -> "Settings":
        """Raises SettingsError."""
        try:
            document = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise SettingsError(f"{path}: cannot be read: {error}") from error
        return cls.parse(document, str(path))

    @classmethod
    def parse(cls, document: Any, origin: str = "settings") -> "Settings":
        """Raises SettingsError."""
        try:
            settings = cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "document"
            raise SettingsError(f"{origin}: {field}: {first['msg']}") from error
        if settings.default_profile not in settings.profiles:
            raise SettingsError(
                f"{origin}: defaultProfile: {settings.default_profile!r} is no profile;"
                f" have: {sorted(settings.profiles)}"
            )
        return settings


def _times(quantity: str, count: int) -> str:
    """A count of one leaves the administrator's spelling alone: 1Gi stays 1Gi."""
    return quantity if count == 1 else format_quantity(parse_quantity(quantity) * Decimal(count))
