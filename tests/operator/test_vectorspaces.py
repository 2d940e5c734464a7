"""Pods that answer in unlike vector spaces are said to, with the way out; each is asked once."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.report import RuntimeInfo
from kubeembed_operator.conditions import conditions
from kubeembed_operator.inquiry import INFO_POLL, INFO_POLL_SLOW, INFO_TRIES, Heard, Inquiry
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.observed import Observed
from kubeembed_operator.status import status
from kubeembed_operator.weights import Recorded, Weights

Build = Callable[..., EmbeddingModel]

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
THERE = Weights(request="r", copy=Recorded(request="r", key="k", revision="c0ffee"))
OLD, NEW = "a" * 32, "b" * 32


def info(
    fingerprint: str, dtype: str = "bfloat16", device: str = "cuda", revision: str | None = "c0ffee"
) -> RuntimeInfo:
    return RuntimeInfo(
        name="minilm",
        dimensions=384,
        max_tokens=256,
        dtype=dtype,
        device=device,
        fingerprint=fingerprint,
        revision=revision,
    )


def deployment(**told: Any) -> Manifest:
    counts = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, **told}
    return {"metadata": {}, "spec": {"replicas": 2}, "status": counts}


@pytest.mark.parametrize(
    ("infos", "counts", "reason", "said"),
    [
        ((), {}, "Ready", "answers at"),
        ((info(OLD), info(OLD)), {}, "Ready", "answers at"),
        (
            (info(OLD), info(NEW), info(OLD)),
            {"replicas": 3, "updatedReplicas": 1},
            "MixedVectorSpaces",
            f"2 vector spaces: {'a' * 12} (bfloat16 on cuda), {'b' * 12} (bfloat16 on cuda);"
            " it clears when the roll-out is through.",
        ),
        (
            (info(OLD), info(NEW, "float32", "cpu")),
            {},
            "MixedVectorSpaces",
            f"{'b' * 12} (float32 on cpu); write spec.recipe.dtype, so that unlike nodes",
        ),
        ((info(OLD), info(NEW)), {}, "MixedVectorSpaces", "kubectl rollout restart"),
        ((info(NEW),), {"replicas": 3, "updatedReplicas": 1}, "Starting", "new pods are starting"),
    ],
    ids=[
        "nobody has answered",
        "all alike",
        "in a roll-out",
        "dtype fell out differently",
        "another document",
        "only the new ones are ready",
    ],
)
def test_ready_says_whether_all_pods_answer_in_one_space(
    model: Build, infos: tuple[RuntimeInfo, ...], counts: Any, reason: str, said: str
) -> None:
    observed = Observed(deployment=deployment(**counts))
    found = {each.type: each for each in conditions(model(), THERE, observed, NOW, infos=infos)}
    assert found["Ready"].reason == reason
    assert (found["Ready"].status == "True") == (reason == "Ready")
    assert said in found["Ready"].message
    assert found["Available"].status == "True"


def test_status_keeps_the_fingerprint_that_all_had_until_all_have_another(model: Build) -> None:
    observed = Observed(deployment=deployment())

    def told(before: Manifest, *infos: RuntimeInfo) -> Manifest:
        found = status(
            model(),
            {"model": before},
            (),
            weights=THERE,
            observed=observed,
            progress=None,
            infos=infos,
            now=NOW,
        )
        return dict(found["model"])

    rest = {"dimensions": 384, "maxTokens": 256, "revision": "c0ffee"}
    first = told({}, info(OLD), info(OLD))
    assert first == {"fingerprint": OLD, **rest}
    assert told(first, info(OLD), info(NEW)) == first
    assert told(first) == first
    assert told(first, info(NEW)) == {"fingerprint": NEW, **rest}


def test_the_revision_is_that_of_every_pod_not_of_what_was_fetched(model: Build) -> None:
    """A commit that changes no weights gives another revision in one vector space."""
    observed = Observed(deployment=deployment())
    fetched = Weights(request="r", copy=Recorded(request="r", key="k", revision="new"))

    def told(before: Manifest, *infos: RuntimeInfo) -> Any:
        wanted = {"weights": fetched, "observed": observed, "progress": None}
        found = status(model(), {"model": before}, (), **wanted, infos=infos, now=NOW)
        assert found["weights"]["revision"] == "new"
        return found["model"].get("revision")

    before = {"revision": "old"}
    assert told(before) == "old"
    assert told(before, info(OLD, revision="old")) == "old"
    assert told(before, info(OLD, revision="old"), info(OLD, revision="new")) == "old"
    assert told(before, info(OLD, revision="new"), info(OLD, revision="new")) == "new"
    assert told(before, info(OLD, revision=None)) is None


class Admin:
    """Admin ports: what the pods of these names say; those that are left out do not answer."""

    def __init__(self) -> None:
        self.says: dict[str, RuntimeInfo] = {}
        self.asked: list[str] = []

    async def info(self, pod: Manifest) -> RuntimeInfo | None:
        self.asked.append(pod["metadata"]["uid"])
        return self.says.get(pod["metadata"]["uid"])

    def told(self) -> list[str]:
        """Who was asked since the last question for it."""
        found, self.asked = self.asked, []
        return found


def serving(*names: str, restarts: int = 0, ready: str = "True") -> tuple[Manifest, ...]:
    told = {
        "conditions": [{"type": "Ready", "status": ready}],
        "containerStatuses": [{"restartCount": restarts}],
    }
    return tuple({"metadata": {"uid": name}, "status": told} for name in names)


@pytest.mark.asyncio
async def test_each_ready_pod_is_asked_once_and_again_where_its_container_is_another() -> None:
    admin, heard = Admin(), Heard()
    inquiry: Any = Inquiry(admin, None, lambda: NOW)  # type: ignore[arg-type]
    admin.says = {"one": info(OLD), "two": info(OLD), "three": info(NEW)}
    assert await inquiry.infos(serving("one", ready="False"), heard) == ((), None)
    assert admin.told() == []
    assert await inquiry.infos(serving("one", "two"), heard) == ((info(OLD), info(OLD)), None)
    assert admin.told() == ["one", "two"]
    assert await inquiry.infos(serving("two", "three"), heard) == ((info(OLD), info(NEW)), None)
    assert admin.told() == ["three"]
    admin.says["two"] = info(NEW)
    found = await inquiry.infos(serving("two", "three", restarts=1), heard)
    assert found == ((info(NEW), info(NEW)), None)
    assert admin.told() == ["two", "three"]


@pytest.mark.asyncio
async def test_a_silent_pod_is_left_out_and_asked_again_ever_more_slowly() -> None:
    admin, heard = Admin(), Heard()
    inquiry: Any = Inquiry(admin, None, lambda: NOW)  # type: ignore[arg-type]
    admin.says = {"one": info(OLD)}
    polls = [await inquiry.infos(serving("one", "two"), heard) for _ in range(INFO_TRIES + 1)]
    assert polls == [
        *([((info(OLD),), INFO_POLL)] * INFO_TRIES),
        ((info(OLD),), INFO_POLL_SLOW),
    ]
    assert admin.told() == ["one", *["two"] * (INFO_TRIES + 1)]
    admin.says["two"] = info(OLD)
    assert await inquiry.infos(serving("one", "two"), heard) == ((info(OLD), info(OLD)), None)
