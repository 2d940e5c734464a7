"""How many replicas, and whether the Service leads to the gateway beside the pods. A pure decision.
In mode KEDA only the latter: KEDA takes the pods away, once it is told that it may (`kedaload`).

Down: the gateway first, then no pods, so that there is always somebody behind the Service. Up: whoever wakes
the model changes the number; once Kubernetes lists a pod that is ready, the gateway goes. Each step is taken
from what is there, so that it does not matter who was stopped in between.
"""

from dataclasses import dataclass
from datetime import datetime

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.podreasons import ready
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.activation import activator_slice
from kubeembed_operator.manifests.scaling import AUTOMATIC, asked_before, first_replicas
from kubeembed_operator.observed import Observed, age, terminating

#: Seconds from the slice, whose time has no fractions, to no pods: every node has to have seen it. A pod that
#: ends serves for 5 s more.
SETTLE = 4.0
#: Seconds that a ScaledObject which is being deleted is waited for: it goes after its autoscaler, but not
#: where KEDA is away.
HANDOVER = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is known beside the objects. replicas: as the autoscaler has it; None: it does not know yet.
    least: as schedules have it; 0: none is in force. idle: uids of pods that nobody asks. gateways: addresses
    of its pods that are ready; None: not known yet. port: of each of them, for this model."""

    replicas: int | None = None
    least: int = 0
    idle: frozenset[str] = frozenset()
    gateways: tuple[str, ...] | None = None
    port: int | None = None


NONE_KNOWN = Demand()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done. replicas: to be written; None: the number is right, or others'. lead: the slice as
    it should be; drop: the one that is to go, woken: because a pod is ready again. look_in: seconds."""

    replicas: int | None = None
    lead: Manifest | None = None
    drop: Manifest | None = None
    woken: bool = False
    look_in: float | None = None


def step(model: EmbeddingModel, observed: Observed, demand: Demand, now: datetime) -> Step:
    """The next one; of most passes, that nothing is to be done."""
    deployment, there = observed.deployment, observed.activator
    if deployment is None:
        first = first_replicas(model)
        return Step(replicas=None if first is None else max(first, demand.least))
    number = None if _is_keda_s(observed, now) else _number(model, deployment, demand)
    if not model.spec.scaling.may_sleep:
        done = there is not None and (observed.answered or model.spec.scaling.mode == "External")
        return Step(replicas=number, drop=there if done else None)
    if replicas_of(deployment) == 0:
        return Step(replicas=number, lead=_lead(model, demand))
    if not observed.answered:  # it wakes, or never began
        return Step(replicas=number, lead=_lead(model, demand) if there else None)
    if demand.least or not _idle(observed, demand) or not demand.gateways:
        return Step(replicas=number, drop=there, woken=there is not None)
    if there is None:
        return Step(lead=_lead(model, demand), look_in=SETTLE)
    left = SETTLE - age(there, now)
    lead = _lead(model, demand)
    if left > 0:
        return Step(lead=lead, look_in=left)
    ours = model.spec.scaling.automatic and not _is_keda_s(observed, now)
    return Step(lead=lead, replicas=0 if ours else None)


def replicas_of(deployment: Manifest) -> int:
    return int((deployment.get("spec") or {}).get("replicas", 1))


def rolling(deployment: Manifest) -> bool:
    """Whether pods of an earlier template still run beside the new ones."""
    status = deployment.get("status") or {}
    return int(status.get("replicas") or 0) > int(status.get("updatedReplicas") or 0)


def _number(model: EmbeddingModel, deployment: Manifest, demand: Demand) -> int | None:
    """Of a model that is awake. What the document says is written once: what others make of it stays."""
    scaling, current = model.spec.scaling, replicas_of(deployment)
    if not scaling.automatic:
        asked = first_replicas(model)
        return None if asked is None or str(asked) == asked_before(deployment) else asked
    if current == 0 and scaling.may_sleep and not demand.least:
        return None  # who asks for the model wakes it
    wanted = current if demand.replicas is None else demand.replicas
    bounded = max(scaling.least, demand.least, min(wanted, scaling.max))
    known = asked_before(deployment) == AUTOMATIC  # else nobody owns the number yet, as we do
    return None if bounded == current and known else bounded


def _idle(observed: Observed, demand: Demand) -> bool:
    """Whether nobody asks any of the pods that answer. Not during a roll-out: pods of the old template that
    are let go do not come back, and the new ones may be no good."""
    pods = [pod["metadata"]["uid"] for pod in observed.serving_pods if ready(pod)]
    rolls = observed.deployment is None or rolling(observed.deployment) or observed.switched
    return bool(pods) and demand.idle.issuperset(pods) and not rolls


def _lead(model: EmbeddingModel, demand: Demand) -> Manifest | None:
    """None while it is not known where the gateway is: then the slice stays as it is."""
    if demand.gateways is None or demand.port is None:
        return None
    return activator_slice(model, demand.port, demand.gateways)


def _is_keda_s(observed: Observed, now: datetime) -> bool:
    """Whether KEDA may still write the number."""
    there = observed.scaled_object
    if there is None:
        return False
    return not terminating(there) or age(there, now, "deletionTimestamp") < HANDOVER
