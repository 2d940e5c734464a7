"""The five conditions of a model, from what was observed. Pure; no clock but the one that is passed.

Ready repeats the first condition that is not as it should be. Messages hold nothing that changes from pass to
pass (counts, back-offs), because each change of a message is a write and a line in somebody's log.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import endpoint
from kubeembed_api.podreasons import Trouble, shortened
from kubeembed_api.reasons import Reason
from kubeembed_api.report import RuntimeInfo
from kubeembed_operator.adapterstatus import AdapterStatus, first_amiss
from kubeembed_operator.condition import Condition, pod_trouble, ready_replicas
from kubeembed_operator.manifests.scaling import first_replicas
from kubeembed_operator.observed import Observed
from kubeembed_operator.rollout import GOES_ON, Rollout
from kubeembed_operator.sleep import replicas_of, rolling
from kubeembed_operator.vectorspaces import mixed
from kubeembed_operator.weights import Weights
from kubeembed_operator.weightsready import weights_ready


def conditions(
    model: EmbeddingModel,
    weights: Weights,
    observed: Observed,
    now: datetime,
    adapters: Sequence[AdapterStatus] = (),
    rollout: Rollout = GOES_ON,
    infos: Sequence[RuntimeInfo] = (),
    waiting: Trouble | None = None,
) -> tuple[Condition, ...]:
    """WeightsReady, Available, AdaptersReady, Asleep and, first, Ready. infos: of the pods that are ready;
    waiting: what else is to be said, of the next pods or of KEDA."""
    parts = (
        weights_ready(model, weights, observed, now),
        available(model, weights, observed, rollout),
        adapters_ready(adapters, asleep=_sleeps(model, observed)),
    )
    asleep = _asleep(model, observed)
    waits = _held_back(rollout) or _surge_blocked(model, rollout) or _a_pods(observed) or waiting
    return (_ready(model, parts, observed, rollout, infos, waits), *parts, asleep)


def available(
    model: EmbeddingModel, weights: Weights, observed: Observed, rollout: Rollout
) -> Condition:
    deployment, front = observed.deployment, observed.front.deployment
    if deployment is None or front is None:
        waits = "waits for the weights" if weights.copy is None else "the Deployment is being made"
        return Condition("Available", "False", Reason.PENDING, waits)
    if ready_replicas(front) > 0:
        where = endpoint(model.name, model.namespace)
        return Condition("Available", "True", Reason.SERVING, f"answers at {where}")
    if replicas_of(deployment) == 0:
        return _without_pods(model, observed)
    found = _surge_blocked(model, rollout) or _own_trouble(observed)
    if found is not None:
        return Condition("Available", "False", found.reason, found.message)
    held = "; requests are held until one is ready" if observed.activator else ""
    return Condition("Available", "False", Reason.STARTING, f"pods are starting{held}")


def _without_pods(model: EmbeddingModel, observed: Observed) -> Condition:
    """Who wakes it, and what is amiss where nobody can."""
    if not model.spec.scaling.may_sleep:
        wake = f"no replicas are asked for; kubectl scale em/{model.name} --replicas=1 starts one"
        return Condition("Available", "False", Reason.SCALED_TO_ZERO, wake)
    if observed.activator is not None and observed.activator.get("endpoints"):
        where = endpoint(model.name, model.namespace)
        return Condition(
            "Available", "True", Reason.ASLEEP, f"asleep; a request to {where} wakes it"
        )
    nobody = (
        "asleep, and no pod of the gateway is ready to take requests; "
        f"kubectl scale deploy/{model.name} --replicas=1 wakes it by hand"
    )
    return Condition("Available", "False", Reason.GATEWAY_NOT_READY, nobody)


def adapters_ready(adapters: Sequence[AdapterStatus], *, asleep: bool = False) -> Condition:
    """asleep: no pod has any now; the next one loads what is there."""
    if not adapters:
        message = "the model has no adapters"
        return Condition("AdaptersReady", "True", Reason.NO_ADAPTERS, message)
    amiss = first_amiss(adapters)
    if asleep and amiss is not None and amiss.reason is Reason.PENDING:
        message = "every adapter is fetched, and loaded when the model wakes"
        return Condition("AdaptersReady", "True", Reason.ASLEEP, message)
    if amiss is None:
        return Condition("AdaptersReady", "True", Reason.LOADED, "every pod serves every adapter")
    message = f"adapter {amiss.state.name}: {amiss.message}"
    return Condition("AdaptersReady", "False", amiss.reason, shortened(message))


def _ready(
    model: EmbeddingModel,
    parts: tuple[Condition, ...],
    observed: Observed,
    rollout: Rollout,
    infos: Sequence[RuntimeInfo],
    waits: Trouble | None,
) -> Condition:
    for part in parts:
        if part.status != "True":
            return replace(part, type="Ready", status="False")
    if waits is not None:
        return Condition("Ready", "False", waits.reason, waits.message)
    rolls = observed.deployment is not None and rolling(observed.deployment)
    if rolls and rollout.paused:
        paused = "the roll-out is paused on its way (spec.rollout.paused); old and new pods serve"
        return Condition("Ready", "False", Reason.PAUSED, paused)
    spaces = mixed(infos, rolling=rolls)
    if spaces is not None:
        return Condition("Ready", "False", spaces.reason, shortened(spaces.message))
    if rolls:
        starts = "new pods are starting; the old ones serve until then"
        return Condition("Ready", "False", Reason.STARTING, starts)
    if _sleeps(model, observed):
        return replace(parts[1], type="Ready")
    where = endpoint(model.name, model.namespace)
    still = "; roll-outs are paused (spec.rollout.paused)" if rollout.paused else ""
    return Condition("Ready", "True", Reason.READY, f"answers at {where}{still}")


def _own_trouble(observed: Observed) -> Trouble | None:
    return pod_trouble(observed.serving_pods, observed.deployment)


def _a_pods(observed: Observed) -> Trouble | None:
    found = _own_trouble(observed)
    return found and Trouble(found.reason, shortened(f"a pod: {found.message}"))


def _held_back(rollout: Rollout) -> Trouble | None:
    if not rollout.held:
        return None
    text = "a change waits for spec.rollout.paused to be taken away; the pods serve as before it"
    return Trouble(Reason.PAUSED, text)


def _surge_blocked(model: EmbeddingModel, rollout: Rollout) -> Trouble | None:
    """Says what happens next as well: whether the old pods give way by themselves."""
    if rollout.blocked is None:
        return None
    lacks = " and ".join(rollout.blocked.resources)
    serves = rollout.blocked.idle_since is None
    text = f"a new pod finds no room: the {lacks} that it asks for is held by the old pods, "
    if not serves or model.spec.rollout.fallback == "Replace":
        after = model.spec.rollout.fallback_after
        return Trouble(
            Reason.SURGE_BLOCKED,
            f"{text}which give their places to new ones if none has come after {after}",
        )
    way_out = (
        "which go on serving. Write rollout.fallback: Replace (they give their places to new ones, one at a"
        " time) or rollout.strategy: Recreate (they all end first), or add a node"
    )
    return Trouble(Reason.SURGE_BLOCKED, text + way_out)


def _asleep(model: EmbeddingModel, observed: Observed) -> Condition:
    if _sleeps(model, observed):
        why = f"nobody asked for {model.spec.scaling.sleeps_after}; the next request wakes it"
        return Condition("Asleep", "True", Reason.ASLEEP, why)
    if desired(model, observed) == 0:
        return Condition("Asleep", "True", Reason.SCALED_TO_ZERO, "no replicas are asked for")
    return Condition("Asleep", "False", Reason.AWAKE, "replicas are asked for")


def desired(model: EmbeddingModel, observed: Observed) -> int:
    """Pods that there should be."""
    if observed.deployment is not None:
        return replicas_of(observed.deployment)
    first = first_replicas(model)
    return 1 if first is None else first


def _sleeps(model: EmbeddingModel, observed: Observed) -> bool:
    return model.spec.scaling.may_sleep and desired(model, observed) == 0
