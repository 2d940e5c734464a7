"""What the operator looks at, and how often, when KEDA asks it how loaded a model is. In virtual time."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from kubeembed_api.report import Load
from kubeembed_api.scaling import Target
from kubeembed_operator import kedafigures
from kubeembed_operator.cluster import ClusterError, Unreachable
from kubeembed_operator.kedafigures import Asked, KedaFigures, NotThere, TooMany
from kubeembed_operator.kinds import DEPLOYMENT, ENDPOINT_SLICE, Key, Kind, Manifest
from kubeembed_operator.settings import Gateway

pytestmark = [pytest.mark.looptime]

KEY = ("search", "minilm")
GATEWAY = Gateway(namespace="system", labels={"app.kubernetes.io/component": "gateway"})
SERVING = {"kubeembed.dev/model": "minilm", "app.kubernetes.io/component": "serving"}
ASKED = Asked(key=KEY, target=Target(utilization=50, queue_seconds=0.5), idle_seconds=60)
AWAKE = Asked(key=KEY, target=Target(utilization=50, queue_seconds=0.5))
BUSY = {"busy": 0.75, "idle_seconds": 0.0}
QUIET = {"busy": 0.0, "idle_seconds": 60.0}


class Rig:
    """An API server and pods that tell what a test says. `calls` in the order in which they came."""

    def __init__(self) -> None:
        self.replicas: int | None = 1
        self.pods: list[Manifest] = []
        self.says: dict[str, dict[str, Any] | None] = {}
        self.activator: Manifest | None = None
        self.gateways: list[Manifest] = [pod("gateway", ip="10.0.0.7")]
        self.error: ClusterError | None = None
        self.calls: list[str] = []
        self._busy: dict[str, float] = {}
        self._at: dict[str, float] = {}
        self.figures = KedaFigures(
            cluster=self,
            pods=self,
            gateway=GATEWAY,
            clock=lambda: datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC),
        )

    async def find(self, kind: Kind, key: Key) -> Manifest | None:
        self.calls.append(kind.name)
        await asyncio.sleep(0.01)
        if self.error is not None:
            raise self.error
        if kind == ENDPOINT_SLICE:
            assert key == ("search", "minilm-activator")
            return self.activator
        assert (kind, key) == (DEPLOYMENT, KEY)
        return None if self.replicas is None else {"spec": {"replicas": self.replicas}}

    async def pods_with(self, namespace: str, labels: Mapping[str, str]) -> list[Manifest]:
        if namespace == "system":
            assert labels == GATEWAY.labels
            self.calls.append("gateways")
            return self.gateways
        assert (namespace, labels) == ("search", SERVING)
        self.calls.append("pods")
        return self.pods

    async def load(self, made: Manifest) -> Load | None:
        uid, now = made["metadata"]["uid"], asyncio.get_running_loop().time()
        self.calls.append(uid)
        says = self.says[uid]
        if says is None:
            return None
        passed = now - self._at.get(uid, 0.0)
        self._at[uid] = now
        self._busy[uid] = self._busy.get(uid, 0.0) + passed * says["busy"]
        return Load(
            busy_seconds=self._busy[uid],
            queued_tokens=0,
            in_flight=0,
            tokens=1000,
            idle_seconds=says["idle_seconds"],
            up_seconds=100 + now,
        )

    def has(self, **told: dict[str, Any] | None) -> None:
        """Pods that are ready, by uid."""
        self.pods = [pod(uid) for uid in told]
        self.says = told

    def leads(self) -> None:
        """The gateway is behind the Service."""
        made = {"creationTimestamp": "2026-11-27T11:59:00Z"}
        self.activator = {"metadata": made, "endpoints": [{"addresses": ["10.0.0.7"]}]}


def pod(uid: str, ready: str = "True", ip: str = "10.0.1.1", **metadata: str) -> Manifest:
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "metadata": {"uid": uid, **metadata},
        "status": {"conditions": conditions, "podIP": ip},
    }


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_pod_that_was_not_looked_at_lately_is_looked_at_twice(rig: Rig) -> None:
    rig.has(one=BUSY)
    assert await rig.figures(AWAKE) == pytest.approx(150.0)
    assert rig.calls == ["Deployment", "pods", "one", "one"]
    await asyncio.sleep(5)
    rig.calls.clear()
    assert await rig.figures(AWAKE) == pytest.approx(150.0)
    assert rig.calls == ["Deployment", "pods", "one"]
    await asyncio.sleep(30)
    rig.calls.clear()
    await rig.figures(AWAKE)
    assert rig.calls == ["Deployment", "pods", "one", "one"]


async def test_pods_that_are_not_ready_or_going_are_not_asked(rig: Rig) -> None:
    rig.replicas = 3
    rig.has(one=BUSY)
    rig.pods += [pod("starts", "False"), pod("goes", deletionTimestamp="now")]
    assert await rig.figures(AWAKE) == 300.0
    assert rig.calls == ["Deployment", "pods", "one", "one"]


async def test_a_model_that_starts_is_kept_awake(rig: Rig) -> None:
    rig.pods = [pod("starts", "False")]
    rig.leads()
    assert await rig.figures(ASKED) == 100.0


async def test_many_who_ask_at_once_cost_one_look(rig: Rig) -> None:
    rig.has(one=BUSY)
    both = await asyncio.gather(rig.figures(AWAKE), rig.figures(AWAKE))
    assert both == [pytest.approx(150.0)] * 2
    assert await rig.figures(AWAKE) == both[0]
    assert rig.calls == ["Deployment", "pods", "one", "one"]


async def test_a_quiet_model_sleeps_once_the_gateway_is_behind_its_service(rig: Rig) -> None:
    rig.has(one=QUIET)
    assert await rig.figures(ASKED) == 1.0
    rig.leads()
    await asyncio.sleep(1)
    assert await rig.figures(ASKED) == 0.0
    assert rig.calls[-3:] == ["one", "EndpointSlice", "gateways"]
    rig.gateways = [pod("gateway", "False", ip="10.0.0.7")]
    assert await rig.figures(ASKED) == 1.0


async def test_one_that_may_not_sleep_is_never_asked_whether_it_could(rig: Rig) -> None:
    rig.has(one=QUIET)
    rig.leads()
    assert await rig.figures(AWAKE) == 1.0
    assert "EndpointSlice" not in rig.calls


async def test_that_it_sleeps_is_never_said_from_memory(rig: Rig) -> None:
    """Or KEDA would take the pod that a request has just asked for."""
    rig.replicas = 0
    assert await rig.figures(ASKED) == 0.0
    assert rig.calls == ["Deployment"]
    rig.replicas, rig.pods = 1, [pod("starts", "False")]
    assert await rig.figures(ASKED) == 100.0


async def test_none_by_hand_is_no_sleep_of_a_model_that_may_not(rig: Rig) -> None:
    rig.replicas = 0
    assert await rig.figures(AWAKE) == 1.0


async def test_a_pod_that_tells_nothing_is_at_its_target(rig: Rig) -> None:
    rig.replicas = 2
    rig.has(one=QUIET, two=None)
    rig.leads()
    assert await rig.figures(ASKED) == pytest.approx(100.0)
    rig.has(one=None, two=None)
    await asyncio.sleep(1)
    assert await rig.figures(ASKED) == 200.0


async def test_what_the_api_server_does_not_tell_is_no_number(rig: Rig) -> None:
    rig.error = Unreachable("list Deployment", 0, "no route")
    with pytest.raises(Unreachable):
        await rig.figures(ASKED)
    rig.error = None
    rig.replicas = None
    with pytest.raises(NotThere, match="search/minilm has no Deployment"):
        await rig.figures(ASKED)
    rig.replicas = 0
    assert await rig.figures(ASKED) == 0.0


async def test_not_more_are_looked_at_than_there_is_room_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kedafigures, "AT_ONCE", 1)
    rig.has(one=BUSY)
    first = asyncio.create_task(rig.figures(AWAKE))
    await asyncio.sleep(0)
    with pytest.raises(TooMany):
        await rig.figures(ASKED)
    assert await first == pytest.approx(150.0)
    assert await rig.figures(ASKED) == pytest.approx(150.0)
