"""What a pod told of its load, twice or more -> a figure for the autoscaler. Pure.

Over some seconds, so that one long batch is no peak; by the pod's own clock, so that a slow answer is no
lull.
"""

from collections.abc import Sequence

from kubeembed_api.report import Load
from kubeembed_operator.autoscaler import Figure

#: Seconds over which the utilisation is taken.
WINDOW = 6.0


def with_load(known: Sequence[Load], load: Load) -> tuple[Load, ...]:
    """The loads of a pod, oldest first, with one more: as many as the window takes. One that started anew has
    only that one."""
    if known and load.up_seconds <= known[-1].up_seconds:
        return (load,)
    begin = load.up_seconds - WINDOW
    recent = [each for each in known if each.up_seconds >= begin]
    return (*(recent or known[-1:]), load)


def figure(loads: Sequence[Load]) -> Figure | None:
    """None where one load alone is known."""
    if len(loads) < 2:
        return None
    first, last = loads[0], loads[-1]
    busy = (last.busy_seconds - first.busy_seconds) / (last.up_seconds - first.up_seconds)
    rate = last.tokens / last.busy_seconds if last.busy_seconds > 0 else 0.0
    waits = last.queued_tokens / rate if rate else 0.0
    return Figure(utilization=100 * max(0.0, busy), queue_seconds=waits)


def idle(load: Load, seconds: float) -> bool:
    """Whether nobody has asked the pod for so long."""
    return load.in_flight == 0 and load.queued_tokens == 0 and load.idle_seconds >= seconds
