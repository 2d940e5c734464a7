"""What KEDA is told of a model: one number, in per cent of the targets, summed over its pods. Pure.

KEDA hands it to a HorizontalPodAutoscaler, which wants 100 for each pod: so its rule is that of the builtin
autoscaler. 0 means that the pods may go. Everything else keeps them, also what is not known.
"""

from collections.abc import Sequence
from datetime import datetime

from kubeembed_api.report import Load
from kubeembed_api.scaling import Target
from kubeembed_operator.autoscaler import Figure
from kubeembed_operator.figures import idle
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.observed import age
from kubeembed_operator.sleep import SETTLE, rolling

#: Of a pod that is at its target; and of a model that nobody asks and that has to stay awake.
FULL, AWAKE = 100.0, 1.0


def load_of(target: Target, replicas: int, told: Sequence[Figure], missing: int) -> float:
    """missing: pods that are ready and told nothing. They are taken to be idle where the others ask for more,
    and at the target where they ask for fewer; they never turn the one into the other."""
    wanted = replicas * FULL
    if not told:
        return max(wanted, AWAKE)
    shares = [_share(figure, target) for figure in told]
    if sum(shares) > FULL * len(shares):
        return max(sum(shares), wanted)
    filled = sum(shares) + FULL * missing
    return max(min(filled, wanted) if missing else filled, AWAKE)


def sleeps(
    deployment: Manifest,
    pods: Sequence[Manifest],
    told: Sequence[Load],
    idle_seconds: float,
    activator: Manifest | None,
    gateways: Sequence[str],
    now: datetime,
) -> bool:
    """Whether a model may lose its pods. pods: those that are ready; told: by them. The gateway has to be
    behind the Service already, for as long as every node takes to see it, and to be there."""
    if not pods or len(told) < len(pods) or rolling(deployment) or activator is None:
        return False
    if not all(idle(load, idle_seconds) for load in told) or age(activator, now) < SETTLE:
        return False
    led = (each["addresses"][0] for each in activator.get("endpoints") or ())
    return not set(gateways).isdisjoint(led)


def _share(figure: Figure, target: Target) -> float:
    """The larger of both figures, each by its target, in per cent."""
    used = figure.utilization / target.utilization
    return FULL * max(used, figure.queue_seconds / target.queue_seconds)
