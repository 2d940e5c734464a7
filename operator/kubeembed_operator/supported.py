"""Which documents this version can serve. The rest is said in a condition, never passed over.

The document's shape is final; what the rooms can do grows. A check that is no longer needed is deleted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.podreasons import IMAGE_VOLUMES, shortened
from kubeembed_api.reasons import Reason
from kubeembed_api.spec import Spec
from kubeembed_operator.kinds import SCALED_OBJECT
from kubeembed_operator.settings import Settings


@dataclass(frozen=True, slots=True)
class Problem:
    """Why nothing is done for a model until somebody changes something."""

    reason: Reason
    message: str


def unsupported(model: EmbeddingModel) -> Problem | None:
    """The first field that a later version will serve, and what to write until then."""
    for check in CHECKS:
        for field, found, instead in check(model.spec):
            message = f"{field}: {found} is not supported yet; {instead}"
            return Problem(Reason.NOT_SUPPORTED_YET, message)
    return None


def refused(model: EmbeddingModel, answer: str) -> Problem:
    """What the API server will not have. An older one drops a volume's image, and then misses its type."""
    drops = model.spec.model.parsed.scheme == "oci" and "volume type" in answer
    explained = f"{answer}; {IMAGE_VOLUMES}" if drops else answer
    if answer.startswith(f"apply {SCALED_OBJECT.name}:"):
        return Problem(Reason.SCALED_OBJECT_NOT_READY, shortened(explained))
    return Problem(Reason.PODS_FORBIDDEN, shortened(explained))


def check_installation(model: EmbeddingModel, settings: Settings) -> None:
    """Raises InvalidSpec for what the administrator has not made or not installed."""
    for check in (check_profile, check_cache, check_gateway, check_keda):
        check(model, settings)


def check_profile(model: EmbeddingModel, settings: Settings) -> None:
    """Raises InvalidSpec for a profile that the administrator has not made."""
    name = model.spec.resources.profile
    if name is not None and name not in settings.profiles:
        have = ", ".join(sorted(settings.profiles))
        raise InvalidSpec("spec.resources.profile", f"{name!r} is no profile here; have: {have}")


def check_cache(model: EmbeddingModel, settings: Settings) -> None:
    """Raises InvalidSpec for a Node cache where the administrator has set no folder for it."""
    if model.spec.weights.cache == "Node" and settings.weights.node is None:
        problem = (
            "Node needs weights.node.path of the chart, a folder on each node; else write Shared"
        )
        raise InvalidSpec("spec.weights.cache", problem)


def check_gateway(model: EmbeddingModel, settings: Settings) -> None:
    """Raises InvalidSpec for a model that could fall asleep and never be woken."""
    if model.spec.scaling.may_sleep and settings.gateway is None:
        problem = (
            "0 lets the model sleep, and the gateway, which wakes it, is not installed: write min 1,"
            " or have the chart installed with gateway.enabled=true"
        )
        raise InvalidSpec("spec.scaling.min", problem)


def check_keda(model: EmbeddingModel, settings: Settings) -> None:
    """Raises InvalidSpec for KEDA where the administrator has not let the operator use it."""
    if model.spec.scaling.mode == "KEDA" and settings.keda is None:
        problem = (
            "KEDA is for installations of the chart with keda.enabled=true: have it set, or write mode"
            " Builtin, or External with a scaler of yours"
        )
        raise InvalidSpec("spec.scaling.mode", problem)


Found = Iterator[tuple[str, str, str]]


def _source(spec: Spec) -> Found:
    scheme = spec.model.parsed.scheme
    if scheme == "file":
        yield "spec.model.source", "file:// in a cluster", "write pvc://claim/path"


def _remote_code(spec: Spec) -> Found:
    if spec.model.trust_remote_code:
        yield "spec.model.trustRemoteCode", "true", "leave it out"


def _adapters(spec: Spec) -> Found:
    for index, adapter in enumerate(spec.adapters):
        scheme = adapter.parsed.scheme
        if scheme in ("oci", "file"):
            field = f"spec.adapters[{index}].source"
            yield field, f"{scheme}://", "write hf://, s3://, gs://, az://, https:// or pvc://"


CHECKS: tuple[Callable[[Spec], Found], ...] = (
    _source,
    _remote_code,
    _adapters,
)
