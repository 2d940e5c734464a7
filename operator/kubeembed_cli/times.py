"""Seconds and moments in a person's words."""

from datetime import datetime


def span(seconds: float) -> str:
    """90 -> '90 s'; 600 -> '10 min'."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def ago(seconds: float) -> str:
    return f"{span(seconds)} ago"


def since(moment: str, now: datetime) -> str:
    """A moment as Kubernetes spells it -> 'for 10 min'."""
    return f"for {span((now - datetime.fromisoformat(moment)).total_seconds())}"
