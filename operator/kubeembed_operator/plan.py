"""What is to be done for a model, as a value: (model, settings, observed, weights, ...) -> Plan. Pure.

While other weights are fetched, what serves is left as it is: the Deployment and its document stay with the
copy that they run, and change together once the new copy is complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import CA_FILE, NEXT
from kubeembed_operator.adapterlists import holds, list_files, lists_of
from kubeembed_operator.adapters import AdapterState
from kubeembed_operator.goldens import serving_deployment
from kubeembed_operator.jobs import jobs_of
from kubeembed_operator.kinds import (
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    ENDPOINT_SLICE,
    JOB,
    SCALED_OBJECT,
    SERVICE,
    Kind,
    Manifest,
)
from kubeembed_operator.manifests import pods, serving
from kubeembed_operator.manifests.keda import scaled_object
from kubeembed_operator.manifests.metadata import stamp, stamped
from kubeembed_operator.manifests.network import network_policy
from kubeembed_operator.manifests.node_cache import node_objects, on_node
from kubeembed_operator.manifests.placement import disruption_budget, wants_disruption_budget
from kubeembed_operator.manifests.promotion import next_serving
from kubeembed_operator.manifests.weights import claim, claimed, wants_shared_claim
from kubeembed_operator.observed import Observed, terminating
from kubeembed_operator.promotion import NO_PROMOTION, Next, Promotion
from kubeembed_operator.rolledout import rolled_out_keys
from kubeembed_operator.rollout import GOES_ON, Rollout
from kubeembed_operator.settings import Settings
from kubeembed_operator.sleep import Step, replicas_of
from kubeembed_operator.weights import Weights

NO_STEP = Step()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`apply` in this order: what others need comes first. `replicas`: to be written; None: left as it is.
    `paused`: the Deployment is to be, and `held`: it keeps pods that the document does not ask for any more.
    """

    delete: tuple[tuple[Kind, Manifest], ...]
    apply: tuple[Manifest, ...]
    replicas: int | None
    paused: bool = False
    held: bool = False


def plan(
    model: EmbeddingModel,
    settings: Settings,
    observed: Observed,
    weights: Weights,
    adapters: Sequence[AdapterState] = (),
    rollout: Rollout = GOES_ON,
    promotion: Promotion = NO_PROMOTION,
    step: Step = NO_STEP,
    activator_port: int | None = None,
    keda: bool = False,
) -> Plan:
    """keda: whether the cluster has KEDA's kinds."""
    resolved = model.model_copy(update={"resolved": weights.resolved})
    jobs = jobs_of(model, settings, observed, weights, adapters)
    deployment = stamped(
        serving_deployment(
            resolved, settings, observed, replaces=rollout.replaces, idle=promotion.idle
        )
    )
    still = rollout.paused and observed.deployment is not None
    waits = promotion.held or holds(adapters, lists_of(model, weights, observed))
    rolls = weights.copy is not None and not still and not waits
    told = _config_map(model, settings, observed, weights, adapters)
    return Plan(
        delete=(
            *((JOB, each) for each in jobs.outdated),
            *_unwanted_budget(model, observed),
            *_unwanted_scaled_object(model, observed),
            *_gone(observed, promotion),
            *([(ENDPOINT_SLICE, step.drop)] if step.drop else []),
        ),
        apply=(
            *map(stamped, _standing(model, settings, told, promotion.behind, activator_port)),
            *([stamped(step.lead)] if step.lead else []),
            *([deployment] if rolls else []),
            *map(stamped, _next(resolved, settings, observed, promotion)),
            *jobs.new,
            *(map(stamped, _scaled_object(model, settings, observed)) if keda else ()),
        ),
        replicas=step.replicas,
        paused=rollout.paused,
        held=still and weights.copy is not None and _differ(deployment, observed.deployment),
    )


def placing(
    model: EmbeddingModel,
    settings: Settings,
    observed: Observed,
    weights: Weights,
    adapters: Sequence[AdapterState],
) -> Plan:
    """Only the ConfigMap: a pod that starts anew serves the adapters that are placed in it."""
    told = stamped(_config_map(model, settings, observed, weights, adapters))
    return Plan(delete=(), apply=(told,), replicas=None, paused=model.spec.rollout.paused)


def _config_map(
    model: EmbeddingModel,
    settings: Settings,
    observed: Observed,
    weights: Weights,
    adapters: Sequence[AdapterState],
) -> Manifest:
    documents = {
        **list_files(model, adapters, lists_of(model, weights, observed), observed),
        **rolled_out_keys(observed),
        **_request(model, weights, _capacity(model, settings, observed)),
        **_certificates(settings),
    }
    return serving.config_map(model, documents)


def _standing(
    model: EmbeddingModel,
    settings: Settings,
    config_map: Manifest,
    behind: str,
    activator_port: int | None,
) -> list[Manifest]:
    """What a model has whether or not its weights are there. behind: the pods that its Service points at."""
    return [
        serving.service_account(model),
        *([claim(model.namespace, settings)] if wants_shared_claim(model) else []),
        *node_objects(model, settings),
        config_map,
        serving.service(model, pods_of=behind, activator_port=activator_port),
        *([network_policy(model, settings)] if settings.admin_from else []),
        *([disruption_budget(model)] if wants_disruption_budget(model) else []),
    ]


def _next(
    resolved: EmbeddingModel, settings: Settings, observed: Observed, promotion: Promotion
) -> list[Manifest]:
    if promotion.next is not Next.WANTED or observed.deployment is None:
        return []
    deployment = serving_deployment(resolved, settings, observed, NEXT)
    return next_serving(resolved, deployment, replicas_of(observed.deployment))


def _gone(observed: Observed, promotion: Promotion) -> list[tuple[Kind, Manifest]]:
    """The next Deployment and what belongs to it, once the model's own Service does not point at its pods."""
    if promotion.next is not Next.GONE or observed.switched:
        return []
    found = observed.next
    there = (
        (DEPLOYMENT, found.deployment),
        (SERVICE, found.service),
        (DISRUPTION_BUDGET, found.disruption_budget),
    )
    return [(kind, manifest) for kind, manifest in there if manifest is not None]


def _differ(deployment: Manifest, live: Manifest | None) -> bool:
    return live is not None and stamp(deployment) != stamp(live)


def _unwanted_budget(
    model: EmbeddingModel, observed: Observed
) -> tuple[tuple[Kind, Manifest], ...]:
    found = observed.disruption_budget
    if found is None or wants_disruption_budget(model):
        return ()
    return ((DISRUPTION_BUDGET, found),)


def _scaled_object(
    model: EmbeddingModel, settings: Settings, observed: Observed
) -> tuple[Manifest, ...]:
    """Last of all, and once there is something that KEDA can scale. An API server may refuse it."""
    wanted = model.spec.scaling.mode == "KEDA" and observed.deployment is not None
    return (scaled_object(model, settings.keda.url),) if wanted and settings.keda else ()


def _unwanted_scaled_object(
    model: EmbeddingModel, observed: Observed
) -> tuple[tuple[Kind, Manifest], ...]:
    found = observed.scaled_object
    if found is None or terminating(found) or model.spec.scaling.mode == "KEDA":
        return ()
    return ((SCALED_OBJECT, found),)


def _request(model: EmbeddingModel, weights: Weights, capacity: int | None) -> dict[str, str]:
    """The document that the Job mounts, as long as there is one."""
    if weights.copy is not None:
        return {}
    return {pods.FETCH_DOCUMENT: serving.fetch_document(model, capacity)}


def _capacity(model: EmbeddingModel, settings: Settings, observed: Observed) -> int | None:
    """Bytes of the claim that is fetched into: of one that is watched, or that this very pass makes."""
    if model.spec.model.parsed.scheme == "pvc" or on_node(model):
        return None
    if observed.claim is not None:
        return claimed(observed.claim)
    made = observed.config_map is None and wants_shared_claim(model)
    return claimed(claim(model.namespace, settings)) if made else None


def _certificates(settings: Settings) -> dict[str, str]:
    """What fetches trust beside the public CAs. In the model's namespace, because there they run."""
    told = settings.weights.ca_certificates
    return {CA_FILE: told} if told else {}
