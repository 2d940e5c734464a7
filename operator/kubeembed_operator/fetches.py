"""How far a Job that fetches something is: its result, its trouble, or that it has to begin anew. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from kubeembed_api.podreasons import Trouble, last_words, lasting_trouble, running
from kubeembed_api.reasons import Reason
from kubeembed_api.report import Report
from kubeembed_operator.kinds import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """`report` is set once it ended well."""

    job: Manifest
    report: Report | None = None
    #: Finished without a usable result: has to be deleted, so that it can be made again.
    spent: bool = False
    trouble: Trouble | None = None
    #: The pod whose admin port tells the progress, if one runs.
    pod: Manifest | None = None

    @property
    def going(self) -> bool:
        """Whether it is on its way, as far as one sees."""
        return self.report is None and not self.spent and self.trouble is None


def fetch_of(job: Manifest, pods: Sequence[Manifest], *, since: str = "") -> Fetch:
    """A result counts that is later than `since`."""
    report = _result(pods, since)
    if report is not None:
        return Fetch(job=job, report=report)
    if finished(job):
        return Fetch(job=job, spent=True)
    found = next((t for t in map(lasting_trouble, pods) if t is not None), None)
    runs = next((pod for pod in pods if running(pod)), None)
    if found is None and not pods:
        found = _no_pod(job)
    return Fetch(job=job, trouble=found, pod=runs)


def finished(job: Manifest) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    ends = (c for c in conditions if c.get("type") in ("Complete", "Failed"))
    return any(end["status"] == "True" for end in ends)


def has_pods(job: Manifest) -> bool:
    return bool((job.get("status") or {}).get("active"))


def _no_pod(job: Manifest) -> Trouble | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") in ("Failed", "FailureTarget") and condition["status"] == "True":
            return Trouble(Reason.PODS_FORBIDDEN, condition.get("message") or "the Job failed")
    return None


def _result(pods: Sequence[Manifest], since: str) -> Report | None:
    """What the Job's pod said when it ended well: it is there seconds before the Job is called complete. None
    where the pod that knew is gone."""
    for pod in pods:
        for report, at in last_words(pod):
            if report.reason is Reason.FETCHED and report.key and at > since:
                return report
    return None
