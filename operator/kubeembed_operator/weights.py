"""What is known of a model's weights: a copy under a key, or how far its fetch is. Pure.

Status remembers a finished fetch, so that its Job may go. A serving pod that finds no copy overrules it.
"""

from dataclasses import dataclass

from kubeembed_api.document import EmbeddingModel, Resolved
from kubeembed_api.keys import weights_key
from kubeembed_api.names import fetch_job_name
from kubeembed_api.podreasons import Trouble, last_words, ready
from kubeembed_api.reasons import Reason
from kubeembed_api.report import Report
from kubeembed_api.sources import Source
from kubeembed_operator.fetches import fetch_of
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.node_cache import on_node
from kubeembed_operator.manifests.weights import fetch_request
from kubeembed_operator.observed import Observed

#: Progress of a copy that is complete.
WHOLE = "100%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What status says of the last finished fetch."""

    request: str | None = None
    key: str | None = None
    revision: str | None = None
    bytes: int | None = None
    progress: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """`copy` is set once the wanted weights are there; until then `job` (if any) is on its way to them."""

    request: str
    copy: Recorded | None = None
    job: Manifest | None = None
    #: Finished without a usable result: has to be deleted, so that it can be made again.
    spent: bool = False
    trouble: Trouble | None = None
    #: The pod whose admin port tells the progress, if one runs.
    pod: Manifest | None = None

    @property
    def resolved(self) -> Resolved:
        if self.copy is None:
            return Resolved()
        return Resolved(revision=self.copy.revision, key=self.copy.key)


def recorded(model: Manifest) -> Recorded:
    """From the model as the API server has it."""
    status = model.get("status") or {}
    weights = status.get("weights") or {}
    return Recorded(
        request=weights.get("request"),
        key=weights.get("key"),
        revision=weights.get("revision"),
        bytes=weights.get("bytes"),
        progress=weights.get("progress"),
    )


def weights_of(model: EmbeddingModel, known: Recorded, observed: Observed) -> Weights:
    request = fetch_request(model)
    if model.spec.model.parsed.scheme == "oci":
        return Weights(request=request, copy=_in_image(request, model.spec.model.parsed))
    job = observed.job(fetch_job_name(model.name, request))
    missed = _missed(observed)
    if known.request == request and known.key and missed is None:
        return Weights(request=request, copy=known, job=job)
    if job is None:
        return Weights(request=request, trouble=missed)
    fetch = fetch_of(job, observed.pods_of(job), since=missed.at if missed else "")
    if fetch.report is not None:
        begun = "0%" if on_node(model) else WHOLE  # there, pods fetch what the Job has resolved
        return Weights(request=request, copy=_record(request, fetch.report, begun), job=job)
    if fetch.spent:
        return Weights(request=request, job=job, spent=True, trouble=missed)
    return Weights(request=request, job=job, trouble=fetch.trouble, pod=fetch.pod)


def _in_image(request: str, source: Source) -> Recorded:
    """Nothing is fetched: kubelet pulls the image, and whether a model is in it the serving pod finds out."""
    key = weights_key(source, source.digest)
    return Recorded(request=request, key=key, revision=source.digest, progress="in image")


def _missed(observed: Observed) -> Trouble | None:
    """A serving pod's word that the copy is not where it should be. A ready pod's is an old story."""
    for pod in (*observed.serving_pods, *observed.next.pods):
        for report, at in () if ready(pod) else last_words(pod):
            if report.reason is Reason.WEIGHTS_MISSING:
                return Trouble(report.reason, report.message, at)
    return None


def _record(request: str, report: Report, progress: str) -> Recorded:
    return Recorded(
        request=request,
        key=report.key,
        revision=report.revision,
        bytes=report.bytes,
        progress=progress,
    )
