"""How far the weights are, from the Job, its pod, status, and what serving pods say."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import fetch_job_name
from kubeembed_api.reasons import Reason
from kubeembed_api.report import Progress
from kubeembed_operator.cluster import Cluster
from kubeembed_operator.inquiry import Inquiry, Memory
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.weights import fetch_request
from kubeembed_operator.observed import Observed
from kubeembed_operator.pods import Pods
from kubeembed_operator.weights import Recorded, weights_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)

Build = Callable[..., EmbeddingModel]

FETCHED = '{"reason": "Fetched", "key": "k", "revision": "c0ffee", "bytes": 9, "fetchedBytes": 9}'


def job(model: EmbeddingModel, **status: Any) -> Manifest:
    name = fetch_job_name(model.name, fetch_request(model))
    return {"metadata": {"name": name, "uid": "job"}, "status": status}


def pod(message: str, code: int, at: str, owner: str = "job") -> Manifest:
    ended = {"exitCode": code, "message": message, "finishedAt": at}
    owners = [{"controller": True, "uid": owner, "kind": "Job"}]
    container = {"name": "c", "state": {"terminated": ended}}
    metadata = {"uid": "pod", "ownerReferences": owners}
    return {"metadata": metadata, "status": {"containerStatuses": [container]}}


def known(model: EmbeddingModel) -> Recorded:
    return Recorded(request=fetch_request(model), key="k", revision="c0ffee", bytes=9)


def done(model: EmbeddingModel) -> Manifest:
    return job(model, conditions=[{"type": "Complete", "status": "True"}])


def test_status_is_enough_once_the_job_is_gone(model: Build) -> None:
    found = weights_of(model(), known(model()), Observed())
    assert found.copy == known(model())


def test_another_revision_is_not_what_status_remembers(model: Build) -> None:
    other = model(model={"source": "hf://acme/minilm", "revision": "v2"})
    assert weights_of(other, known(model()), Observed()).copy is None


def test_the_pods_word_counts_before_the_job_is_called_complete(model: Build) -> None:
    observed = Observed(jobs=(job(model()),), fetch_pods=(pod(FETCHED, 0, "12:00"),))
    assert weights_of(model(), Recorded(), observed).copy == Recorded(
        request=fetch_request(model()), key="k", revision="c0ffee", bytes=9, progress="100%"
    )


def test_a_finished_job_whose_pod_is_gone_has_to_begin_anew(model: Build) -> None:
    found = weights_of(model(), Recorded(), Observed(jobs=(done(model()),)))
    assert found.spent
    assert found.copy is None


def test_a_failed_attempt_tells_its_reason(model: Build) -> None:
    denied = pod('{"reason": "SourceForbidden", "message": "no access"}', 1, "12:00")
    observed = Observed(jobs=(job(model()),), fetch_pods=(denied,))
    found = weights_of(model(), Recorded(), observed)
    assert found.trouble is not None
    assert found.trouble.reason is Reason.SOURCE_FORBIDDEN
    assert not found.spent


class Answers:
    """The admin port of a pod that fetches."""

    def __init__(self, *answers: Progress | None) -> None:
        self._answers = iter(answers)

    async def progress(self, _: Manifest) -> Progress | None:
        return next(self._answers)


async def test_the_reason_stays_while_the_next_attempt_runs_until_bytes_come(model: Build) -> None:
    """Otherwise Ready would change twice with every attempt. Once they came it does not come back."""
    wanted = model()
    again = pod('{"reason": "SourceForbidden", "message": "no access"}', 1, "12:00")
    (container,) = again["status"]["containerStatuses"]
    container["lastState"], container["state"] = container["state"], {"running": {}}
    again["status"] |= {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    found = weights_of(wanted, Recorded(), Observed(jobs=(job(wanted),), fetch_pods=(again,)))
    assert found.trouble is not None
    assert (found.trouble.reason, found.pod) == (Reason.SOURCE_FORBIDDEN, again)
    waits, moves = Progress(bytes=0, total=9), Progress(bytes=4, total=9, rate=2.0)
    checks = Progress(bytes=9, total=9)
    inquiry = Inquiry(
        cast(Pods, Answers(waits, None, moves, checks, None)), cast(Cluster, None), lambda: NOW
    )
    memory = Memory()
    told = [(await inquiry.fetch(found, {}, memory))[0].trouble for _ in range(5)]
    assert told == [found.trouble, found.trouble, None, None, None]


async def test_a_short_fetch_is_not_worth_a_write_of_its_progress(model: Build) -> None:
    """And a longer one tells its own, not that of the copy before it."""
    wanted = model()
    runs = pod("", 0, "12:00")
    runs["metadata"]["creationTimestamp"] = NOW.isoformat()
    runs["status"] |= {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    runs["status"]["containerStatuses"][0]["state"] = {"running": {}}
    found = weights_of(wanted, Recorded(), Observed(jobs=(job(wanted),), fetch_pods=(runs,)))
    raw = {"status": {"weights": {"progress": "100%"}}}
    for age, told in ((9, None), (11, "40%")):
        pods, now = Answers(Progress(bytes=4, total=9, rate=2.0)), NOW + timedelta(seconds=age)
        inquiry = Inquiry(cast(Pods, pods), cast(Cluster, None), lambda now=now: now)
        assert (await inquiry.fetch(found, raw, Memory()))[1] == told


def test_a_copy_that_a_serving_pod_misses_is_fetched_again(model: Build) -> None:
    missing = pod('{"reason": "WeightsMissing", "message": "no copy"}', 1, "13:00")
    fetched_before, fetched_after = pod(FETCHED, 0, "12:00"), pod(FETCHED, 0, "14:00")
    lost = Observed(jobs=(done(model()),), serving_pods=(missing,), fetch_pods=(fetched_before,))
    assert weights_of(model(), known(model()), lost).spent
    again = Observed(jobs=(done(model()),), serving_pods=(missing,), fetch_pods=(fetched_after,))
    found = weights_of(model(), known(model()), again).copy
    assert found is not None
    assert found.key == "k"
