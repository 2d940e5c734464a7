"""The children of one model as they are in the cluster: one small value, made anew for each pass.

Only what this very object owns counts. A child of an earlier model of the same name is being collected.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kubeembed_api.caches import cache_claim
from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import (
    ADAPTER,
    COMPONENT,
    NEXT,
    SERVING,
    SLICE_MANAGER,
    WEIGHTS,
    activator_slice_name,
    serving_name,
)
from kubeembed_operator.kinds import (
    CLAIM,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    ENDPOINT_SLICE,
    JOB,
    POD,
    SCALED_OBJECT,
    SERVICE,
    Key,
    Kind,
    Manifest,
)
from kubeembed_operator.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What serves under one name. Pods in the order of their names, without those that are going."""

    deployment: Manifest | None = None
    service: Manifest | None = None
    disruption_budget: Manifest | None = None
    pods: tuple[Manifest, ...] = ()


NOTHING = Serving()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """None and () stand for absent. Pods and Jobs in the order of their names. `next`: what waits to be
    promoted, or has been and serves in the place of pods that are made anew. activator: the slice that leads
    to the gateway. answered: Kubernetes itself lists a pod of the model's own Service that is ready. leaving:
    serving pods on their way out. golden: the keys of the ConfigMap that spec.rollout.golden names, as it was
    read in this pass, or of none; None where the document names none. scaled_object:
    KEDA's, also while it is being deleted."""

    deployment: Manifest | None = None
    service: Manifest | None = None
    next: Serving = NOTHING
    config_map: Manifest | None = None
    claim: Manifest | None = None
    disruption_budget: Manifest | None = None
    activator: Manifest | None = None
    scaled_object: Manifest | None = None
    answered: bool = False
    jobs: tuple[Manifest, ...] = ()
    adapter_jobs: tuple[Manifest, ...] = ()
    serving_pods: tuple[Manifest, ...] = ()
    leaving: tuple[Manifest, ...] = ()
    golden: Mapping[str, str] | None = None
    fetch_pods: tuple[Manifest, ...] = ()

    @property
    def switched(self) -> bool:
        """Whether the model's own Service points at the next pods."""
        selector = ((self.service or {}).get("spec") or {}).get("selector") or {}
        return bool(selector.get(COMPONENT) == NEXT and self.next.deployment is not None)

    @property
    def front(self) -> Serving:
        """What the model's own Service points at."""
        own = Serving(deployment=self.deployment, pods=self.serving_pods)
        return self.next if self.switched else own

    def job(self, name: str) -> Manifest | None:
        return _named(self.jobs, name)

    def adapter_job(self, name: str) -> Manifest | None:
        return _named(self.adapter_jobs, name)

    def pods_of(self, job: Manifest) -> tuple[Manifest, ...]:
        uid = job["metadata"]["uid"]
        return tuple(pod for pod in self.fetch_pods if controlled_by(pod, uid))


def observe(
    store: Store, model: EmbeddingModel, golden: Mapping[str, str] | None = None
) -> Observed:
    key = (model.namespace, model.name)
    claim = cache_claim(model)
    deployment = _own(store, DEPLOYMENT, key, model)
    return Observed(
        deployment=deployment,
        service=_own(store, SERVICE, key, model),
        next=_next(store, key, model),
        config_map=_own(store, CONFIG_MAP, key, model),
        claim=store.get(CLAIM, (model.namespace, claim)) if claim else None,
        disruption_budget=_own(store, DISRUPTION_BUDGET, key, model),
        activator=_own(
            store, ENDPOINT_SLICE, (model.namespace, activator_slice_name(model.name)), model
        ),
        scaled_object=_controlled(store, SCALED_OBJECT, key, model),
        answered=any(_answers(each, model.name) for each in store.children(ENDPOINT_SLICE, key)),
        jobs=_jobs(store, key, model, WEIGHTS),
        adapter_jobs=_jobs(store, key, model, ADAPTER),
        serving_pods=_pods(store, key, SERVING) if deployment else (),
        leaving=_leaving(store, key),
        golden=golden,
        fetch_pods=(*_pods(store, key, WEIGHTS), *_pods(store, key, ADAPTER)),
    )


def _next(store: Store, key: Key, model: EmbeddingModel) -> Serving:
    there = (model.namespace, serving_name(model.name, NEXT))
    return Serving(
        deployment=_own(store, DEPLOYMENT, there, model),
        service=_own(store, SERVICE, there, model),
        disruption_budget=_own(store, DISRUPTION_BUDGET, there, model),
        pods=_pods(store, key, NEXT),
    )


def template_of(deployment: Manifest) -> Manifest:
    """What its pods are made of."""
    return deployment["spec"].get("template") or {}


def annotation(manifest: Manifest, name: str) -> str | None:
    """Of any object, or of a template."""
    told: str | None = ((manifest.get("metadata") or {}).get("annotations") or {}).get(name)
    return told


def controlled_by(manifest: Manifest, uid: str) -> bool:
    owners = manifest["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") and owner["uid"] == uid for owner in owners)


def activates(endpoint_slice: Manifest) -> bool:
    """Whether it leads to the gateway and not to the model's pods."""
    labels = endpoint_slice["metadata"].get("labels") or {}
    return labels.get("endpointslice.kubernetes.io/managed-by") == SLICE_MANAGER


def age(manifest: Manifest, now: datetime, since: str = "creationTimestamp") -> float:
    """Seconds since it was made, or since another time that its metadata has."""
    made = manifest["metadata"].get(since) or "1970-01-01T00:00:00Z"
    return (now - datetime.fromisoformat(made)).total_seconds()


def terminating(manifest: Manifest) -> bool:
    return "deletionTimestamp" in manifest["metadata"]


def _answers(endpoint_slice: Manifest, service: str) -> bool:
    endpoints = endpoint_slice.get("endpoints") or ()
    pods = (each for each in endpoints if (each.get("conditions") or {}).get("ready") is not False)
    labels = endpoint_slice["metadata"].get("labels") or {}
    own = labels.get("kubernetes.io/service-name") == service and not activates(endpoint_slice)
    return own and any(pods)


def _own(store: Store, kind: Kind, key: Key, model: EmbeddingModel) -> Manifest | None:
    found = _controlled(store, kind, key, model)
    return None if found is None or terminating(found) else found


def _controlled(store: Store, kind: Kind, key: Key, model: EmbeddingModel) -> Manifest | None:
    found = store.get(kind, key)
    return None if found is None or not controlled_by(found, model.metadata.uid) else found


def _named(manifests: tuple[Manifest, ...], name: str) -> Manifest | None:
    return next((each for each in manifests if each["metadata"]["name"] == name), None)


def _jobs(store: Store, key: Key, model: EmbeddingModel, component: str) -> tuple[Manifest, ...]:
    return tuple(
        job
        for job in store.children(JOB, key)
        if controlled_by(job, model.metadata.uid)
        and job["metadata"]["labels"].get(COMPONENT) == component
        and not terminating(job)
    )


def _pods(store: Store, key: Key, component: str) -> tuple[Manifest, ...]:
    return tuple(
        pod
        for pod in store.children(POD, key)
        if pod["metadata"]["labels"].get(COMPONENT) == component and not terminating(pod)
    )


def _leaving(store: Store, key: Key) -> tuple[Manifest, ...]:
    return tuple(
        pod
        for pod in store.children(POD, key)
        if pod["metadata"]["labels"].get(COMPONENT) in (SERVING, NEXT) and terminating(pod)
    )
