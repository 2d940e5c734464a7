"""The loop of scaling: whom it asks, what it makes of the answers, and whom it wakes."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.report import Load
from kubeembed_operator.cluster import ClusterError, Unreachable
from kubeembed_operator.kinds import DEPLOYMENT, ENDPOINT_SLICE, POD, Key, Manifest
from kubeembed_operator.loads import Loads
from kubeembed_operator.manifests.activation import activator_slice
from kubeembed_operator.settings import Gateway
from kubeembed_operator.sleep import Demand
from kubeembed_operator.store import Store

Build = Callable[..., EmbeddingModel]

KEY = ("search", "minilm")
GATEWAY = Gateway(namespace="system", labels={"app.kubernetes.io/component": "gateway"})
LABELS = {"kubeembed.dev/model": "minilm", "app.kubernetes.io/component": "serving"}
BUSY = {"busy": 1.0, "idle_seconds": 0.0}
QUIET = {"busy": 0.0, "idle_seconds": 600.0}


class Rig:
    """Loads over a store, pods that tell what a test says, and pods of the gateway."""

    def __init__(self) -> None:
        self.store = Store()
        self.now = 0.0
        self.date = datetime(2026, 11, 25, 6, 59, 50, tzinfo=UTC)
        self.says: dict[str, dict[str, Any] | None] = {}
        self.asked: list[str] = []
        self.gateways: list[Manifest] | ClusterError = []
        self.listed = 0
        self.woken: list[Key] = []
        self._busy: dict[str, float] = {}
        self.loads = Loads(
            store=self.store,
            cluster=self,
            pods=self,
            gateway=GATEWAY,
            wake=self.woken.append,
            clock=lambda: self.date,
        )

    async def load(self, pod: Manifest) -> Load | None:
        uid = pod["metadata"]["uid"]
        self.asked.append(uid)
        says = self.says[uid]
        if says is None:
            return None
        told = {"queued_tokens": 0, "in_flight": 0, "idle_seconds": 0.0, **says}
        self._busy[uid] = self._busy.get(uid, 0.0) + 2 * told.pop("busy", 0.0)
        return Load(up_seconds=self.now + 100, busy_seconds=self._busy[uid], tokens=1000, **told)

    async def pods_with(self, namespace: str, labels: Mapping[str, str]) -> list[Manifest]:
        assert (namespace, labels) == (GATEWAY.namespace, GATEWAY.labels)
        self.listed += 1
        if isinstance(self.gateways, ClusterError):
            raise self.gateways
        return self.gateways

    async def look(self, times: int = 1) -> list[Key]:
        """The keys that were woken by the last of so many looks, two seconds apart."""
        for _ in range(times):
            self.woken.clear()
            self.now += 2.0
            self.date += timedelta(seconds=2)
            await self.loads.look(self.now)
        return list(self.woken)

    def has(self, replicas: int, **pods: str) -> None:
        """A Deployment, and pods by uid with the status of their readiness."""
        self.put(DEPLOYMENT, "minilm", spec={"replicas": replicas})
        for uid, ready in pods.items():
            conditions = [{"type": "Ready", "status": ready}]
            self.put(POD, uid, status={"conditions": conditions})

    def put(self, kind: Any, name: str, **fields: Any) -> None:
        self._version = getattr(self, "_version", 0) + 1
        metadata = {"name": name, "namespace": "search", "uid": name, "labels": LABELS}
        version = {"resourceVersion": str(self._version)}
        self.store.put(kind, {"metadata": {**metadata, **version}, **fields})


def gateway(address: str, ready: str = "True", **metadata: str) -> Manifest:
    status = {"podIP": address, "conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": metadata, "status": status}


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_model_with_a_fixed_number_costs_no_request(rig: Rig, model: Build) -> None:
    rig.loads.follow(model(scaling={"min": 2, "max": 2}))
    rig.loads.follow(model(name="other", scaling={"mode": "External"}))
    rig.has(2, one="True", two="True")
    assert await rig.look(3) == []
    assert (rig.asked, rig.listed) == ([], 0)


async def test_a_busy_model_is_woken_with_what_it_should_have(rig: Rig, model: Build) -> None:
    built = model(scaling={"min": 1, "max": 4})
    rig.loads.follow(built)
    rig.has(1, one="True")
    rig.says = {"one": BUSY}
    assert await rig.look() == []  # one word is no figure
    assert await rig.look() == [KEY]
    assert rig.loads.demand(built, None) == Demand(replicas=2)
    rig.has(2, one="True", two="False")
    assert await rig.look() == []
    assert rig.asked == ["one"] * 3
    assert rig.listed == 0


async def test_what_one_was_asked_is_forgotten_with_its_document(rig: Rig, model: Build) -> None:
    rig.loads.follow(model(scaling={"min": 1, "max": 4}))
    rig.has(1, one="True")
    rig.says = {"one": BUSY}
    await rig.look(2)
    rig.loads.follow(model())
    assert await rig.look() == []
    assert rig.loads.demand(model(), None) == Demand()


async def test_a_quiet_model_is_woken_to_fall_asleep(rig: Rig, model: Build) -> None:
    built = model(scaling={"min": 0, "max": 2})
    rig.loads.follow(built)
    rig.has(2, one="True", two="True")
    rig.gateways = [gateway("10.0.0.8"), gateway("10.0.0.7"), gateway("10.0.0.9", "False")]
    rig.gateways += [gateway("10.0.0.6", deletionTimestamp="now"), gateway("fd00::1")]
    rig.says = {"one": QUIET, "two": BUSY}
    assert await rig.look() == []
    assert rig.loads.demand(built, 20001) == Demand(
        replicas=2, idle=frozenset({"one"}), gateways=("10.0.0.7", "10.0.0.8"), port=20001
    )
    rig.says = {"one": QUIET, "two": QUIET}
    assert await rig.look() == [KEY]
    assert rig.loads.demand(built, 20001).idle == frozenset({"one", "two"})
    rig.says["two"] = None
    assert await rig.look() == []
    assert rig.loads.demand(built, 20001).idle == frozenset({"one"})


async def test_a_sleeping_model_is_woken_when_the_gateway_moves(rig: Rig, model: Build) -> None:
    built = model(scaling=SLEEPY)
    rig.loads.follow(built)
    rig.has(0)
    made = activator_slice(built, 20001, ("10.0.0.7",))
    rig.put(ENDPOINT_SLICE, "minilm-activator", endpoints=made["endpoints"])
    rig.gateways = [gateway("10.0.0.7")]
    assert await rig.look() == [KEY]
    assert await rig.look(5) == []
    rig.gateways = [gateway("10.0.0.8")]
    assert await rig.look() == [KEY]
    assert rig.loads.demand(built, 20001).gateways == ("10.0.0.8",)
    rig.gateways = Unreachable("list Pod", 0, "no route")
    assert await rig.look() == []
    assert rig.loads.demand(built, 20001).gateways == ("10.0.0.8",)
    assert rig.asked == []


SLEEPY = {"min": 0}


async def test_a_pod_that_is_new_is_not_idle_because_an_old_one_was(rig: Rig, model: Build) -> None:
    built = model(scaling=SLEEPY)
    rig.loads.follow(built)
    rig.has(1, one="True")
    rig.says = {"one": QUIET, "new": {"idle_seconds": 1.0}}
    await rig.look()
    rig.store.drop(POD, {"metadata": {"namespace": "search", "name": "one", "uid": "one"}})
    rig.has(0)
    await rig.look()
    assert rig.loads.demand(built, None).idle == frozenset()
    rig.has(1, new="True")
    assert await rig.look() == []
    assert rig.loads.demand(built, None).idle == frozenset()


async def test_the_number_is_keda_s_and_a_quiet_model_is_woken_all_the_same(
    rig: Rig, model: Build
) -> None:
    built = model(scaling={"mode": "KEDA", "min": 0, "max": 4})
    rig.loads.follow(model(scaling={"min": 1, "max": 4}))
    rig.loads.follow(built)
    rig.has(1, one="True")
    rig.gateways = [gateway("10.0.0.7")]
    rig.says = {"one": BUSY}
    assert await rig.look(3) == []
    assert rig.loads.demand(built, 20001) == Demand(gateways=("10.0.0.7",), port=20001)
    rig.says = {"one": QUIET}
    assert await rig.look() == [KEY]
    assert rig.loads.demand(built, 20001).idle == frozenset({"one"})


async def test_nobody_is_asked_for_a_model_that_keda_keeps_awake(rig: Rig, model: Build) -> None:
    rig.loads.follow(model(scaling={"mode": "KEDA", "min": 1, "max": 4}))
    rig.has(1, one="True")
    assert await rig.look(3) == []
    assert (rig.asked, rig.listed) == ([], 0)


OFFICE = {"start": "0 8 * * 1-5", "end": "0 18 * * 1-5", "timeZone": "Europe/Berlin", "min": 2}


async def test_a_schedule_wakes_a_model_that_sleeps_and_keeps_it_awake_though_nobody_asks(
    rig: Rig, model: Build
) -> None:
    built = model(scaling={"min": 0, "max": 3, "schedules": [OFFICE]})
    rig.loads.follow(built)
    rig.has(0)
    assert await rig.look(4) == []  # 6:59:58 UTC
    assert rig.loads.demand(built, None).least == 0
    assert await rig.look() == [KEY]
    assert rig.loads.demand(built, None).least == 2
    rig.has(1, one="True")
    rig.says = {"one": QUIET}
    assert await rig.look() == [KEY]
    assert rig.loads.demand(built, None).replicas == 2
    rig.has(2, one="True", two="True")
    rig.says["two"] = QUIET
    assert await rig.look(5) == []
    rig.date = datetime(2026, 11, 25, 16, 59, 58, tzinfo=UTC)
    assert await rig.look() == [KEY]  # all are idle
    assert rig.loads.demand(built, None).least == 0


async def test_another_schedule_counts_at_once(rig: Rig, model: Build) -> None:
    rig.loads.follow(model(scaling={"min": 1, "max": 3}))
    built = model(scaling={"min": 1, "max": 3, "schedules": [{**OFFICE, "start": "0 7 * * *"}]})
    rig.loads.follow(built)
    assert rig.loads.demand(built, None).least == 2
    rig.loads.follow(model(scaling={"min": 1, "max": 3}))
    assert rig.loads.demand(built, None).least == 0
