"""The EmbeddingModel document as frozen values. Defaults are applied here, once.

The same document is applied to the cluster, mounted (resolved) into the pod and served on a laptop. The
CRD's schema says the same in the cluster; tests/api keeps the two equal.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.names import API_VERSION, KIND
from kubeembed_api.network import Network, check_network
from kubeembed_api.rollout import Name253, Rollout, check_rollout
from kubeembed_api.scaling import Scaling, check_scaling
from kubeembed_api.sourced import Sourced, Value, check_sourced
from kubeembed_api.sources import MOUNTED, STORES, Source

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


class Metadata(BaseModel):
    """The part of the metadata that KubeEmbed reads; the rest is Kubernetes' own."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    annotations: Mapping[str, str] = Field(default_factory=dict)
    deletion_timestamp: str | None = Field(default=None, alias="deletionTimestamp")


class Resolved(BaseModel):
    """What status says of the weights: which commit, under which key. Empty until they are fetched.

    capacity: bytes that the cache may have; the operator tells it to the fetch alone.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    revision: str | None = None
    key: str | None = None
    capacity: int | None = None


class EmbeddingModel(BaseModel):
    """One model, as its author wrote it and, once known, as it was resolved."""

    model_config = ConfigDict(frozen=True)

    metadata: Metadata
    spec: Spec
    resolved: Resolved = Resolved()

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace


def parse(document: Mapping[str, Any]) -> EmbeddingModel:
    """A document as read from YAML or from the API server -> values, defaults applied.

    Raises InvalidSpec naming the field. `status` is read for the resolved revision and key alone.
    """
    if document.get("apiVersion") != API_VERSION or document.get("kind") != KIND:
        found = f"{document.get('apiVersion')} {document.get('kind')}"
        raise InvalidSpec("apiVersion", f"found {found}; write {API_VERSION} and kind {KIND}")
    status = document.get("status") or {}
    try:
        model = EmbeddingModel(
            metadata=Metadata.model_validate(document.get("metadata") or {}),
            spec=Spec.model_validate(document.get("spec") or {}),
            resolved=Resolved(
                revision=(status.get("model") or {}).get("revision"),
                key=(status.get("weights") or {}).get("key"),
                capacity=(status.get("weights") or {}).get("capacity"),
            ),
        )
    except ValidationError as error:
        raise _invalid(error) from error
    _check(model.spec)
    return model


def dump(model: EmbeddingModel) -> dict[str, Any]:
    """The resolved document that is mounted into the pod: what the runtime reads, and no more.

    Scaling, resources and the like are left out, so that changing them restarts no pod; so are the adapters,
    which come and go while it serves.
    """
    read = {"model", "recipe", "adapter_options"}
    spec = model.spec.model_dump(by_alias=True, exclude_none=True, include=read)
    for secret in ("credentialsSecret", "serviceAccountName"):
        spec["model"].pop(secret, None)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": model.name, "namespace": model.namespace},
        "spec": spec,
        "status": {
            "model": {"revision": model.resolved.revision},
            "weights": {"key": model.resolved.key},
        },
    }


def _invalid(error: ValidationError) -> InvalidSpec:
    first = error.errors()[0]
    root = "metadata" if error.title == "Metadata" else "spec"
    field = ".".join([root, *(str(part) for part in first["loc"])])
    if first["type"] != "extra_forbidden":
        return InvalidSpec(field, first["msg"])
    allowed = ", ".join(sorted(_fields(first["loc"][:-1])))
    return InvalidSpec(field, f"unknown field; allowed here: {allowed}")


def _fields(path: tuple[int | str, ...]) -> list[str]:
    """The names that a document may have at `path` below spec, as it spells them."""
    value: type[BaseModel] = Spec
    for part in path:
        if isinstance(part, str):
            value = _value_type(value, part)
    return [field.alias or name for name, field in value.model_fields.items()]


def _value_type(value: type[BaseModel], alias: str) -> type[BaseModel]:
    fields = value.model_fields.items()
    annotation = next(f.annotation for n, f in fields if alias in (n, f.alias))
    inner = get_args(annotation) or (annotation,)
    return next(t for t in inner if isinstance(t, type) and issubclass(t, BaseModel))


def _check(spec: Spec) -> None:
    """The rules across fields, for documents that no API server has seen. The CRD has them as CEL."""
    check_sourced(spec.model, "spec.model")
    for index, adapter in enumerate(spec.adapters):
        check_sourced(adapter, f"spec.adapters[{index}]")
    names = [adapter.name for adapter in spec.adapters]
    if len(set(names)) < len(names):
        raise InvalidSpec("spec.adapters", f"each name once; found {names}")
    _check_account(spec)
    _check_recipe(spec.recipe)
    _check_cache(spec, spec.model.parsed)
    check_scaling(spec.scaling)
    check_rollout(spec.rollout, spec.recipe.outputs)
    check_network(spec.network)
    _check_reach(spec)


def _check_reach(spec: Spec) -> None:
    """Who reaches the gateway is not asked again where it forwards to."""
    if spec.scaling.may_sleep and spec.network.allow_from is not None:
        problem = (
            "0 has the gateway bring what anybody asked for meanwhile, and spec.network.allowFrom says who"
            " may ask: write min 1, or leave out spec.network.allowFrom"
        )
        raise InvalidSpec("spec.scaling.min", problem)


def _check_recipe(recipe: Recipe) -> None:
    if recipe.instruction is not None and "{instruction}" not in recipe.instruction:
        problem = "is a template: write {instruction} where the instruction of a request goes"
        raise InvalidSpec("spec.recipe.instruction", problem)


def _check_account(spec: Spec) -> None:
    if spec.model.service_account_name is None:
        return
    field, model = "spec.model.serviceAccountName", spec.model
    if not any(told.parsed.scheme in STORES for told in (model, *spec.adapters)):
        raise InvalidSpec(field, "is who s3://, gs:// and az:// are read as; leave it out")
    if model.credentials_secret is not None and model.parsed.scheme in STORES:
        raise InvalidSpec(field, "is one way and credentialsSecret another; write one of them")


def _check_cache(spec: Spec, source: Source) -> None:
    if spec.weights.claim and spec.weights.cache != "Shared":
        raise InvalidSpec("spec.weights.claim", "is that of the Shared cache; write cache Shared")
    cache = spec.weights.cache
    if cache == "Shared":
        return
    if source.scheme in MOUNTED:
        where = f"{source.scheme}:// is served where it lies; leave it out"
        raise InvalidSpec("spec.weights.cache", where)
    if spec.model.credentials_secret or spec.model.service_account_name:
        problem = f"{cache} fetches in serving pods, which hold no credentials; write Shared"
        raise InvalidSpec("spec.weights.cache", problem)
    if spec.adapters and cache == "Ephemeral":
        raise InvalidSpec("spec.weights.cache", "adapters are fetched into a claim; write Shared")
