"""Pods are told what they lack and nothing else, and each is asked no more often than it has to be."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from kubeembed_api.reasons import Reason
from kubeembed_api.report import ServedAdapter, ServedAdapters
from kubeembed_operator.adapters import Verdict
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.listings import Held
from kubeembed_operator.pods import RefusedAdapter
from kubeembed_operator.pushing import POLL, POLL_SLOW, TRIES, Known, push, verdicts

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

ONE, TWO, BAD = "/one", "/two", "/bad"


@dataclass
class Pod:
    """A pod's admin port: what it serves, and what it was asked."""

    serves: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    silent: bool = False

    def told(self) -> list[str]:
        """The calls since the last question for them."""
        found, self.calls = self.calls, []
        return found


class Admin:
    """The ports of pods by name."""

    def __init__(self, **pods: Pod) -> None:
        self.pods = pods
        self.gone: set[str] = set()
        self.reason = Reason.ADAPTER_REFUSED

    def manifests(self) -> list[Manifest]:
        return [{"metadata": {"uid": name}, "status": {}} for name in self.pods]

    async def adapters(self, pod: Manifest) -> ServedAdapters | None:
        asked = self._called(pod, "GET")
        if asked is None:
            return None
        good = [ServedAdapter(name=n, path=p, loaded=True) for n, p in asked.serves.items()]
        bad = [
            ServedAdapter(name=n, path=p, loaded=False, error="broken")
            for n, p in asked.broken.items()
        ]
        return ServedAdapters(adapters=(*good, *bad))

    async def put_adapter(
        self, pod: Manifest, name: str, folder: str, golden: Mapping[str, Any] | None = None
    ) -> ServedAdapter | RefusedAdapter | None:
        asked = self._called(pod, f"PUT {name} {folder}{'' if golden is None else f' {golden}'}")
        if asked is None:
            return None
        if folder in (BAD, *self.gone):
            missing = folder in self.gone
            return RefusedAdapter(message="it does not fit", reason=self.reason, missing=missing)
        asked.serves[name] = folder
        asked.broken.pop(name, None)
        return ServedAdapter(name=name, path=folder, loaded=True, fingerprint=f"of {folder}")

    async def remove_adapter(self, pod: Manifest, name: str) -> bool:
        asked = self._called(pod, f"DELETE {name}")
        if asked is None:
            return False
        asked.serves.pop(name, None)
        return True

    def _called(self, pod: Manifest, call: str) -> Pod | None:
        asked = self.pods[pod["metadata"]["uid"]]
        asked.calls.append(call)
        return None if asked.silent else asked


async def pushed(admin: Admin, known: Known, **wanted: str) -> float | None:
    return await push(admin, [(pod, wanted) for pod in admin.manifests()], known)


def heard(known: Known, **wanted: str) -> dict[str, Verdict]:
    return verdicts(wanted, known.listings.values())


async def test_a_new_pod_is_asked_once_and_told_what_it_lacks_and_has_too_much() -> None:
    pod, known = Pod(serves={"a": ONE, "b": ONE, "c": ONE}), Known()
    admin = Admin(pod=pod)
    assert await pushed(admin, known, a=ONE, b=TWO, d=ONE) is None
    assert pod.told() == ["GET", "DELETE c", "PUT b /two", "PUT d /one"]
    assert known.listings == {
        "pod 0": {
            "a": Held(path=ONE),
            "b": Held(path=TWO, fingerprint="of /two"),
            "d": Held(path=ONE, fingerprint="of /one"),
        }
    }
    assert await pushed(admin, known, a=ONE, b=TWO, d=ONE) is None
    assert pod.told() == []


async def test_a_pod_that_joins_is_asked_and_the_others_are_left_alone() -> None:
    first, known = Pod(serves={"a": ONE}), Known()
    await pushed(Admin(first=first), known, a=ONE)
    first.told()
    second = Pod(serves={"a": ONE})
    await pushed(Admin(first=first, second=second), known, a=ONE)
    assert (first.told(), second.told()) == ([], ["GET"])
    await pushed(Admin(second=second), known, a=ONE)
    assert [*known.listings] == ["second 0"]


async def test_what_was_refused_is_not_told_again_and_leaves_what_is_served() -> None:
    pod, known = Pod(serves={"a": ONE}), Known()
    admin = Admin(pod=pod)
    await pushed(admin, known, a=BAD)
    assert heard(known, a=BAD) == {"a": Verdict(error="it does not fit")}
    assert pod.told() == ["GET", "PUT a /bad"]
    await pushed(admin, known, a=BAD)
    await pushed(admin, known, a=ONE)
    assert pod.told() == []
    assert heard(known, a=ONE) == {"a": Verdict()}


async def test_a_refusal_has_the_reason_of_the_pod() -> None:
    known, admin = Known(), Admin(pod=Pod(serves={"a": ONE}))
    admin.reason = Reason.GOLDEN_MISMATCH
    await pushed(admin, known, a=BAD)
    assert heard(known, a=BAD) == {
        "a": Verdict(error="it does not fit", reason=Reason.GOLDEN_MISMATCH)
    }


async def test_one_that_takes_it_outweighs_one_that_refuses() -> None:
    takes = Known(listings={"a": {"x": Held(path=ONE)}, "b": {"x": Held(refused=ONE, error="no")}})
    assert heard(takes, x=ONE, y=ONE) == {"x": Verdict()}


async def test_what_a_pod_did_not_find_outweighs_what_others_have_and_is_told_again() -> None:
    old, new, known = Pod(serves={"a": ONE}), Pod(), Known()
    admin = Admin(old=old, new=new)
    admin.gone = {ONE}
    assert await pushed(admin, known, a=ONE) == POLL_SLOW
    assert heard(known, a=ONE) == {"a": Verdict(missing=True)}
    admin.gone = set()
    old.told()
    assert await pushed(admin, known, a=ONE) is None
    assert heard(known, a=ONE) == {"a": Verdict()}
    assert old.told() == []


async def test_what_a_pod_could_not_load_at_its_start_is_tried_again_now_and_then() -> None:
    pod, known = Pod(broken={"a": BAD}), Known()
    admin = Admin(pod=pod)
    assert await pushed(admin, known, a=BAD) == POLL_SLOW
    assert pod.told() == ["GET", "PUT a /bad"]
    assert await pushed(admin, known, a=BAD) == POLL_SLOW
    assert pod.told() == []
    await asyncio.sleep(POLL_SLOW)  # virtual time
    await pushed(admin, known, a=BAD)
    assert pod.told() == ["GET", "PUT a /bad"]
    assert await pushed(admin, known, a=TWO) is None
    assert heard(known, a=TWO) == {"a": Verdict()}


async def test_a_silent_pod_is_asked_again_soon_and_then_seldom() -> None:
    silent, good, known = Pod(silent=True), Pod(), Known()
    admin = Admin(silent=silent, good=good)
    waits: list[Any] = [await pushed(admin, known, a=ONE) for _ in range(TRIES + 1)]
    assert waits == [POLL] * TRIES + [POLL_SLOW]
    assert good.told() == ["GET", "PUT a /one"]
    assert [*known.listings] == ["good 0"]
    silent.silent = False
    assert await pushed(admin, known, a=ONE) is None
    assert known.tries == 0


async def test_golden_vectors_go_with_the_adapter_that_they_are_of() -> None:
    pod, known = Pod(), Known()
    admin = Admin(pod=pod)
    offers = [(each, {"a": ONE, "b": TWO}) for each in admin.manifests()]

    def golden(pod: Manifest, name: str) -> dict[str, str] | None:
        return {"of": f"{name} for {pod['metadata']['uid']}"} if name == "a" else None

    await push(admin, offers, known, golden)
    assert pod.told() == ["GET", "PUT a /one {'of': 'a for pod'}", "PUT b /two"]
