"""spec.rollout: how a change replaces the running pods, and when it waits."""

import re
from typing import Annotated, Literal

from pydantic import StringConstraints

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.sourced import Value

Duration = Annotated[str, StringConstraints(pattern=r"^([0-9]+(h|m|s))+$")]

SECONDS = {"h": 3600, "m": 60, "s": 1}


class Rollout(Value):
    """Surge starts the new pods beside the old. `fallback`: what happens where there is no room for both."""

    strategy: Literal["Surge", "Recreate"] = "Surge"
    fallback: Literal["None", "Replace"] = "None"
    fallback_after: Duration = "20s"
    paused: bool = False


def check_rollout(rollout: Rollout) -> None:
    """Raises InvalidSpec."""
    if rollout.strategy == "Recreate" and rollout.fallback != "None":
        problem = "is for strategy Surge: Recreate makes room by itself; leave it out"
        raise InvalidSpec("spec.rollout.fallback", problem)


def seconds(duration: str) -> int:
    """ "1h30m" -> 5400."""
    return sum(
        int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)(h|m|s)", duration)
    )
