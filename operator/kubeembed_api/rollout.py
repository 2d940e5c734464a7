"""spec.rollout: how a change replaces the running pods, and when it waits."""

import re
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.sourced import Value

Duration = Annotated[str, StringConstraints(pattern=r"^([0-9]+(h|m|s))+$")]
#: Of an object of Kubernetes.
Name253 = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", max_length=253)
]

#: Precisions differ by less: dtype auto takes bfloat16 where its cosine to float32 is at least 0.9995.
MIN_COSINE = 0.999

SECONDS = {"h": 3600, "m": 60, "s": 1}


class GoldenVectors(Value):
    """What the vectors of a new pod are held against before it is Ready."""

    config_map: Name253
    min_cosine: float = Field(default=MIN_COSINE, gt=0, le=1)


class Rollout(Value):
    """Surge starts the new pods beside the old. `fallback`: what happens where there is no room for both.
    `promote` Manual: those of another vector space wait beside the old for a person's word."""

    strategy: Literal["Surge", "Recreate"] = "Surge"
    fallback: Literal["None", "Replace"] = "None"
    fallback_after: Duration = "20s"
    paused: bool = False
    promote: Literal["Auto", "Manual"] = "Auto"
    golden: GoldenVectors | None = None


def check_rollout(rollout: Rollout, outputs: Collection[str] | None) -> None:
    """outputs: of the recipe, where it says. Raises InvalidSpec."""
    if rollout.golden is not None and outputs is not None and "dense" not in outputs:
        problem = "is about dense vectors; add dense to spec.recipe.outputs, or leave it out"
        raise InvalidSpec("spec.rollout.golden", problem)
    if rollout.strategy == "Recreate" and rollout.fallback != "None":
        problem = "is for strategy Surge: Recreate makes room by itself; leave it out"
        raise InvalidSpec("spec.rollout.fallback", problem)
    if rollout.strategy == "Recreate" and rollout.promote == "Manual":
        problem = "Manual keeps old and new pods side by side, which Recreate has no room for; write Surge"
        raise InvalidSpec("spec.rollout.promote", problem)


def seconds(duration: str) -> int:
    """ "1h30m" -> 5400."""
    return sum(
        int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)(h|m|s)", duration)
    )
