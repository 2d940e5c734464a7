"""What all pods of the chart have in common."""

from typing import Any


def restricted(pod: dict[str, Any]) -> None:
    """Asserts that a pod of one container meets the restricted Pod Security level, and is not root."""
    (container,) = pod["containers"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
