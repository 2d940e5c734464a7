"""The EmbeddingModel document as frozen values.

The same document is applied to the cluster, mounted (resolved) into the pod and served on a laptop.
"""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.names import API_VERSION, KIND
from kubeembed_api.rules import check_spec
from kubeembed_api.spec import Spec


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
    check_spec(model.spec)
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
