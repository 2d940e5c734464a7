"""What a user wants of a model: the fields below `spec`, as frozen values. Defaults are applied here, once.

The CRD's schema says the same in the cluster; tests/api keeps the two equal.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from kubeembed_api.network import Network
from kubeembed_api.rollout import Name253, Rollout
from kubeembed_api.scaling import Scaling
from kubeembed_api.sourced import Sourced, Value

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]

#: Of a page, as browsers send it; or any.
Origin = Annotated[
    str, StringConstraints(pattern=r"^(\*|https?://[^/ ,]+)$", min_length=1, max_length=253)
]

Output = Literal["dense", "sparse", "multivector", "score"]

Pooling = Literal["cls", "max", "mean", "meanSqrtLength", "weightedMean", "lastToken"]


class ModelSource(Sourced):
    """Where the weights come from, and as whom the fetch Job asks for them and for the adapters."""

    service_account_name: Name253 | None = None
    trust_remote_code: bool = False


class Recipe(Value):
    """What overrides the model's own files. None means: as the model says."""

    pooling: Pooling | None = None
    normalize: bool | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    dimensions: int | None = Field(default=None, ge=1, le=65_536)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    outputs: tuple[Output, ...] | None = Field(default=None, min_length=1, max_length=4)
    prompts: dict[str, str] | None = None
    default_prompt_name: str | None = None
    instruction: str | None = None
    default_instruction: str | None = None
    truncation: Literal["right", "left", "refuse"] | None = None
    append_eos: bool | None = None
    causal: bool | None = None


class Adapter(Sourced):
    """A LoRA adapter of the model, which requests name as `model:adapter`."""

    name: Name


class AdapterOptions(Value):
    """How a pod holds its adapters."""

    max_loaded: int = Field(default=64, ge=1, le=64)


class Resources(Value):
    """How much hardware a replica gets, in the administrator's words."""

    profile: Name | None = None
    count: int = Field(default=1, ge=1, le=64)


class Weights(Value):
    """Where the fetched copy lives."""

    cache: Literal["Shared", "Node", "Ephemeral"] = "Shared"
    claim: str | None = None


class Serving(Value):
    """Who may ask. Without either, everybody whom the network lets through, and no page in a browser."""

    api_keys_secret: str | None = Field(default=None, min_length=1, max_length=253)
    cors_origins: tuple[Origin, ...] = Field(default=(), max_length=32)


class Spec(Value):
    """What the user wants."""

    model: ModelSource
    recipe: Recipe = Recipe()
    adapters: tuple[Adapter, ...] = Field(default=(), max_length=64)
    adapter_options: AdapterOptions = AdapterOptions()
    resources: Resources = Resources()
    scaling: Scaling = Scaling()
    weights: Weights = Weights()
    rollout: Rollout = Rollout()
    serving: Serving = Serving()
    network: Network = Network()
