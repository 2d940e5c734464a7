"""spec.scaling: how many replicas there are, and who decides."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.rollout import Duration, seconds
from kubeembed_api.sourced import Value

#: A model that may sleep does so after so long without a request, where its document says nothing: longer
#: than the pauses of a person at work, and shorter than a GPU is worth.
IDLE_AFTER = "10m"


#: Five fields: minute, hour, day of month, month, day of week.
Cron = Annotated[str, StringConstraints(pattern=r"^[^ ]+( [^ ]+){4}$", max_length=100)]


class Target(Value):
    """What the builtin autoscaler, or KEDA, holds the load at."""

    utilization: int = Field(default=70, ge=1, le=100)
    queue_seconds: float = Field(default=0.5, gt=0)


class Hold(Value):
    """How many requests wait, and how long, while a sleeping model wakes."""

    requests: int = Field(default=256, ge=0)
    wait: Duration = "5m"


class Schedule(Value):
    """From each `start` until the next `end`, both as cron has them in `time_zone`: at least so many
    replicas."""

    start: Cron
    end: Cron
    time_zone: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+/-]+$", max_length=64)]
    min: int = Field(ge=1, le=1000)


class Scaling(Value):
    """How many replicas there are, and who decides."""

    mode: Literal["Builtin", "KEDA", "External"] = "Builtin"
    min: int = Field(default=1, ge=0, le=1000)
    max: int = Field(default=1, ge=1, le=1000)
    replicas: int | None = Field(default=None, ge=0, le=1000)
    target: Target = Target()
    idle_after: Duration | None = None
    hold: Hold = Hold()
    schedules: tuple[Schedule, ...] = Field(default=(), max_length=16)

    @property
    def automatic(self) -> bool:
        """Whether the operator decides how many there are, as the load of the pods has it."""
        return self.mode == "Builtin" and self.min != self.max

    @property
    def may_sleep(self) -> bool:
        """Whether there may be none, until a request comes."""
        return self.mode != "External" and self.min == 0

    @property
    def followed(self) -> bool:
        """Whether the operator has to know how loaded the pods are, and whether anybody asks them."""
        return self.automatic or self.may_sleep

    @property
    def least(self) -> int:
        """Replicas of a model that is awake, at least."""
        return max(self.min, 1)

    @property
    def sleeps_after(self) -> str:
        """Of a model that may sleep, as a document spells it."""
        return self.idle_after or IDLE_AFTER

    @property
    def idle_seconds(self) -> int:
        return seconds(self.sleeps_after)


def check_scaling(scaling: Scaling) -> None:
    """Raises InvalidSpec."""
    if scaling.min > scaling.max:
        raise InvalidSpec("spec.scaling.min", "must not be greater than spec.scaling.max")
    if scaling.replicas is not None and scaling.mode != "External":
        raise InvalidSpec("spec.scaling.replicas", "is for mode External; write min and max")
    if scaling.idle_after and scaling.min > 0:
        raise InvalidSpec("spec.scaling.idleAfter", "lets the model sleep; write min 0 with it")
    if scaling.idle_after and scaling.mode == "External":
        problem = "is for models that go to sleep by themselves; leave it out in mode External"
        raise InvalidSpec("spec.scaling.idleAfter", problem)
    _check_schedules(scaling)


def _check_schedules(scaling: Scaling) -> None:
    if scaling.schedules and scaling.mode == "External":
        problem = (
            "are the operator's and KEDA's; leave them out in mode External, where others scale"
        )
        raise InvalidSpec("spec.scaling.schedules", problem)
    for index, schedule in enumerate(scaling.schedules):
        field = f"spec.scaling.schedules[{index}]"
        if schedule.min > scaling.max:
            raise InvalidSpec(f"{field}.min", "must not be greater than spec.scaling.max")
        if schedule.start == schedule.end:
            raise InvalidSpec(f"{field}.end", "is when start is; write when it ends")
