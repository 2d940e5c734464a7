"""Whether a model's weights are there, as a condition. Pure; no clock but the one that is passed."""

from datetime import datetime

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.podreasons import Trouble
from kubeembed_api.reasons import Reason
from kubeembed_api.sources import MOUNTED
from kubeembed_operator.condition import Condition
from kubeembed_operator.manifests.node_cache import on_node
from kubeembed_operator.nodefetches import named, node_fetches
from kubeembed_operator.observed import Observed, age
from kubeembed_operator.weights import Weights

#: How long a claim may take to be bound before its being pending is called the reason.
CLAIM_SECONDS = 10.0


def weights_ready(
    model: EmbeddingModel, weights: Weights, observed: Observed, now: datetime
) -> Condition:
    source = str(model.spec.model.parsed)
    if weights.copy is not None:
        if model.spec.model.parsed.scheme in MOUNTED:
            return Condition("WeightsReady", "True", Reason.MOUNTED, f"served from {source}")
        at = f" at {weights.copy.revision}" if weights.copy.revision else ""
        if on_node(model):
            return _on_nodes(f"{source}{at}", weights.trouble, observed)
        return Condition("WeightsReady", "True", Reason.FETCHED, f"{source}{at} is fetched")
    found = weights.trouble or _claim_pending(weights, observed, now)
    if found is not None:
        return Condition("WeightsReady", "False", found.reason, found.message)
    return Condition("WeightsReady", "False", Reason.FETCHING, f"{source} is being fetched")


def _on_nodes(what: str, found: Trouble | None, observed: Observed) -> Condition:
    """Ready as long as one node has it: others may fetch it meanwhile."""
    if found is not None:
        return Condition("WeightsReady", "False", found.reason, found.message)
    fetches = node_fetches(observed)
    if not fetches.nodes:
        kept = f"{what} is fetched by the first pod on each node"
        return Condition("WeightsReady", "True", Reason.FETCHED, kept)
    message = f"{what} is being fetched on {named(fetches.nodes)}"
    if fetches.done:
        return Condition("WeightsReady", "True", Reason.FETCHED, message)
    return Condition("WeightsReady", "False", Reason.FETCHING, message)


def _claim_pending(weights: Weights, observed: Observed, now: datetime) -> Trouble | None:
    """Only where a pod has waited for it: a claim is often bound when its first pod comes."""
    claim, job = observed.claim, weights.job
    if claim is None or job is None or (claim.get("status") or {}).get("phase") == "Bound":
        return None
    for pod in observed.pods_of(job):
        waits = not (pod.get("spec") or {}).get("nodeName")
        if waits and age(pod, now) > CLAIM_SECONDS:
            name = claim["metadata"]["name"]
            text = f"claim {name} is not bound; kubectl describe pvc {name} says why"
            return Trouble(Reason.CLAIM_PENDING, text)
    return None
