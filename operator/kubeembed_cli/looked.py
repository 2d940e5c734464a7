"""Evidence -> what was looked at, in a line each: so that a good answer can be believed."""

from collections.abc import Iterator

from kubeembed_api.names import SERVING
from kubeembed_api.podreasons import Manifest, ready
from kubeembed_cli.evidence import Evidence
from kubeembed_cli.installation import Installation
from kubeembed_cli.times import ago
from kubeembed_cli.verdict import condition


def looked_at(evidence: Evidence) -> tuple[str, ...]:
    return tuple(_lines(evidence))


def _lines(evidence: Evidence) -> Iterator[str]:
    yield _model(evidence.model)
    yield _deployment(evidence)
    for job in evidence.jobs:
        done = condition(job, "Complete").get("status") == "True"
        yield f"Job {job['metadata']['name']}: {'complete' if done else 'runs'}"
    for claim in evidence.claims:
        phase = (claim.get("status") or {}).get("phase")
        yield f"PersistentVolumeClaim {claim['metadata']['name']}: {phase}"
    yield f"Events of the namespace that warn: {len(evidence.warnings)}"
    if evidence.installations is None:
        yield "the operator: not looked at, which takes the right to list Leases and Pods everywhere"
    elif not evidence.installations:
        yield "the operator: no Lease and no Deployment anywhere"
    for found in evidence.installations or ():
        yield _operator(evidence, found)


def _model(model: Manifest) -> str:
    generation = model["metadata"].get("generation")
    seen = (model.get("status") or {}).get("observedGeneration", "none")
    told = ", ".join(
        f"{each['type']}={each['status']}"
        for each in (model.get("status") or {}).get("conditions") or ()
    )
    name = model["metadata"]["name"]
    return f"EmbeddingModel {name}: generation {generation}, status of {seen}; {told or 'no conditions'}"


def _deployment(evidence: Evidence) -> str:
    if evidence.deployment is None:
        return "Deployment: none"
    status = evidence.deployment.get("status") or {}
    pods = evidence.pods_of(SERVING)
    name = evidence.deployment["metadata"]["name"]
    wanted = evidence.deployment["spec"].get("replicas", 1)
    good = sum(map(ready, pods))
    replicas = f"{status.get('readyReplicas', 0)}/{wanted} replicas"
    return f"Deployment {name}: {replicas}; {good} of {len(pods)} Pods ready"


def _operator(evidence: Evidence, found: Installation) -> str:
    silent = found.silent_seconds(evidence.now)
    told = "never" if silent is None else ago(silent)
    who = f" by {found.leader}" if found.leader else ", held by nobody"
    where = f" for namespace {found.watches}" if found.watches else ""
    return f"operator in {found.namespace}{where}: Lease renewed {told}{who}"
