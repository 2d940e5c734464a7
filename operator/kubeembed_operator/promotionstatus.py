"""The next pods as they are -> their part of the status, and why Ready is not True while they wait. Pure."""

from collections.abc import Sequence
from typing import Any

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import NEXT, PROMOTE_ANNOTATION, endpoint, serving_name
from kubeembed_api.podreasons import Trouble, shortened
from kubeembed_api.reasons import Reason
from kubeembed_api.report import RuntimeInfo
from kubeembed_operator.condition import pod_trouble, ready_replicas
from kubeembed_operator.observed import Observed
from kubeembed_operator.promotion import Next, Promotion
from kubeembed_operator.sleep import replicas_of
from kubeembed_operator.vectorspaces import agreed


def next_status(
    model: EmbeddingModel, observed: Observed, infos: Sequence[RuntimeInfo]
) -> dict[str, Any]:
    """Empty where there is no next Deployment."""
    deployment, info = observed.next.deployment, agreed(infos)
    if deployment is None:
        return {}
    return {
        "dimensions": info and info.dimensions,
        "endpoint": endpoint(serving_name(model.name, NEXT), model.namespace),
        "fingerprint": info and info.fingerprint,
        "ready": f"{ready_replicas(deployment)}/{replicas_of(deployment)}",
        "revision": info and info.revision,
    }


def waits(
    model: EmbeddingModel, promotion: Promotion, observed: Observed, current: str | None
) -> Trouble | None:
    """Why the model's own Service does not answer with its own pods as the document asks."""
    own, coming = model.name, serving_name(model.name, NEXT)
    if observed.switched:
        text = f"{own} answers with the pods of {coming}, until its own are made anew like them"
        return Trouble(Reason.PROMOTING, text)
    if promotion.next is not Next.WANTED:
        return None
    found = pod_trouble(observed.next.pods, observed.next.deployment)
    if found is not None:
        text = f"{coming} is not promoted, and {own} serves as before: {found.message}"
        return Trouble(found.reason, shortened(text))
    if promotion.fingerprint is None:
        text = f"the pods of {coming} are starting; {own} serves as before, until they are promoted"
        return Trouble(Reason.STARTING, text)
    if promotion.lacking:
        names = ", ".join(promotion.lacking)
        serves = f"{coming} does not serve the adapters {names}, which {own} does"
        text = f"{serves}: correct or remove them. It is not promoted before"
        return Trouble(Reason.ADAPTER_REFUSED, text)
    return Trouble(Reason.PROMOTION_PENDING, _pending(model, promotion.fingerprint, current))


def _pending(model: EmbeddingModel, fingerprint: str, current: str | None) -> str:
    name, where = model.name, model.namespace
    told = model.metadata.annotations.get(PROMOTE_ANNOTATION)
    other = "" if told in (None, fingerprint) else f" (it is {told!r} now, which is not theirs)"
    return (
        f"{endpoint(serving_name(name, NEXT), where)} answers in vector space {fingerprint}, and"
        f" {endpoint(name, where)} as before in {current}. To promote it:"
        f" kubectl annotate em/{name} -n {where} --overwrite {PROMOTE_ANNOTATION}={fingerprint}{other}"
    )
