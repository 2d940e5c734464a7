"""Deployment, settings, Pods and Lease of the operator -> whether somebody looks after a model.

A cluster may have several: the chart can be installed once for all namespaces, or for one at a time. An
operator that runs outside (as in development) shows by its Lease alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from kubeembed_api.podreasons import Manifest

#: The key of the chart's ConfigMap.
SETTINGS = "settings.yaml"

#: A Lease that is late by more than this is given up: its own duration is added. Clocks differ by seconds.
GRACE_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One operator. watches: the namespace that it looks after, "" for all of them."""

    namespace: str
    watches: str = ""
    deployment: Manifest | None = None
    pods: tuple[Manifest, ...] = ()
    lease: Manifest | None = None

    def covers(self, namespace: str) -> bool:
        return self.watches in ("", namespace)

    @property
    def leader(self) -> str:
        """The Pod that acts; empty where the Lease was given back."""
        return str(self._lease.get("holderIdentity") or "")

    def silent_seconds(self, now: datetime) -> float | None:
        """Since the Lease was renewed; None where there is none."""
        renewed = self._lease.get("renewTime")
        return None if renewed is None else (now - datetime.fromisoformat(renewed)).total_seconds()

    def runs(self, now: datetime) -> bool:
        silent = self.silent_seconds(now)
        lasts = float(self._lease.get("leaseDurationSeconds") or 0)
        return bool(self.leader) and silent is not None and silent < lasts + GRACE_SECONDS

    @property
    def _lease(self) -> dict[str, Any]:
        return (self.lease or {}).get("spec") or {}


def put_together(
    leases: Sequence[Manifest],
    deployments: Sequence[Manifest],
    settings: Sequence[Manifest],
    pods: Sequence[Manifest],
) -> tuple[Installation, ...]:
    """By namespace: two releases in one would fight for the Lease."""
    namespaces = sorted({_namespace(one) for one in (*leases, *deployments)})
    return tuple(
        Installation(
            namespace=namespace,
            watches=_watched(_of(settings, namespace)),
            deployment=_of(deployments, namespace),
            pods=tuple(pod for pod in pods if _namespace(pod) == namespace),
            lease=_of(leases, namespace),
        )
        for namespace in namespaces
    )


def _watched(settings: Manifest | None) -> str:
    text = ((settings or {}).get("data") or {}).get(SETTINGS) or "{}"
    return str((yaml.safe_load(text) or {}).get("namespace") or "")


def _of(objects: Sequence[Manifest], namespace: str) -> Manifest | None:
    return next((one for one in objects if _namespace(one) == namespace), None)


def _namespace(one: Manifest) -> str:
    return str(one["metadata"]["namespace"])
