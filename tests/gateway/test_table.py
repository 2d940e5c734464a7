"""What the watches bring -> models, ports, ready pods; and nothing left of what is gone."""

from typing import Any

import pytest

from gatewaykit import NAMESPACE, model, service, slice_of
from kubeembed_gateway.reading import Model, Pod, ready_pods
from kubeembed_gateway.table import MODELS, SERVICES, SLICES, State, Table
from kubeembed_gateway.told import Adapter, Told

KEY = (NAMESPACE, "minilm")
ONE = Pod(name="pod-1", host="127.0.0.1", port=8080)
TWO = Pod(name="pod-2", host="127.0.0.1", port=8080)


def test_a_model_is_read_whole() -> None:
    table = Table()
    table.put(
        MODELS,
        model(
            adapters=[{"name": "legal", "source": "hf://a/b"}],
            scaling={"min": 0, "hold": {"requests": 7, "wait": "1m30s"}},
            serving={"apiKeysSecret": "keys"},
            network={"allowFrom": [{"podSelector": {}}]},
            resources={"profile": "l4"},
            status={
                "conditions": [
                    {"type": "Asleep", "status": "True", "reason": "ScaledToZero"},
                    {"type": "Ready", "status": "False", "reason": "Pending"},
                ],
                "model": {"dimensions": 384, "maxTokens": 256, "fingerprint": "f00d"},
                "lastColdStart": {"totalSeconds": 6.2},
            },
        ),
    )
    assert table.models[KEY] == Model(
        namespace=NAMESPACE,
        name="minilm",
        adapters=("legal",),
        hold_requests=7,
        wait_seconds=90.0,
        start_seconds=6.2,
        asleep=True,
        reason="Pending",
        keyed=True,
        guarded=True,
        profile="l4",
        dimensions=384,
        max_tokens=256,
        fingerprint="f00d",
        told=Told(
            message="",
            adapters=(Adapter(name="legal", reason="Pending"),),
            start=(("totalSeconds", 6.2),),
        ),
    )
    assert table.models[KEY].retry_after == 7


def test_a_model_of_which_nothing_is_known_yet_has_the_defaults() -> None:
    table = Table()
    table.put(MODELS, {"metadata": model()["metadata"]})
    assert table.models[KEY] == Model(namespace=NAMESPACE, name="minilm")
    assert table.models[KEY].retry_after == 15


@pytest.mark.parametrize("told", ["", "8080", "30000", "19999", "2e4", "-20000"])
def test_a_port_that_is_not_the_gateways_is_not_opened(told: str) -> None:
    table = Table()
    table.put(SERVICES, service(port=told))
    assert table.ports == {}
    assert not table.may_sleep(KEY)


def test_a_port_belongs_to_one_model() -> None:
    table = Table()
    table.put(SERVICES, service("minilm", 20_000))
    table.put(SERVICES, service("other", 20_000))
    assert table.ports == {20_000: KEY}
    assert (table.may_sleep(KEY), table.may_sleep((NAMESPACE, "other"))) == (True, False)
    table.put(SERVICES, service("minilm", 29_999))
    assert table.ports == {29_999: KEY, 20_000: (NAMESPACE, "other")}
    table.drop(SERVICES, KEY)
    table.drop(SERVICES, (NAMESPACE, "other"))
    assert table.ports == {}


def test_a_port_goes_to_the_next_model_in_whatever_order_that_is_told() -> None:
    table = Table()
    table.put(SERVICES, service("minilm", 20_000))
    table.put(SERVICES, service("next", 20_000))
    table.put(SERVICES, service("next", 20_000))
    table.drop(SERVICES, KEY)
    assert table.ports == {20_000: (NAMESPACE, "next")}
    assert table.may_sleep((NAMESPACE, "next"))
    table.replace(SERVICES, [service("minilm", 20_000)])
    assert table.ports == {20_000: KEY}


def test_ready_pods_are_those_of_all_slices_by_their_names() -> None:
    table = Table()
    table.put(SLICES, slice_of("minilm", ("pod-2", 8080), part="a"))
    table.put(SLICES, slice_of("minilm", ("pod-1", 8080), ("pod-2", 8080), part="b"))
    assert table.pods(KEY) == (ONE, TWO)
    assert table.take_changed() == {KEY}
    table.put(SLICES, slice_of("minilm", part="b"))
    assert table.pods(KEY) == (TWO,)
    table.drop(SLICES, (NAMESPACE, "minilm-a"))
    assert table.pods(KEY) == ()
    assert table.all_pods() == set()


def test_what_changes_nothing_is_no_change() -> None:
    table = Table()
    table.put(SLICES, slice_of("minilm", ("pod-1", 8080)))
    table.take_changed()
    table.put(SLICES, slice_of("minilm", ("pod-1", 8080)))
    assert table.take_changed() == set()


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ({"addresses": ["10.0.0.1"]}, "10.0.0.1"),
        ({"addresses": ["10.0.0.1"], "conditions": {"ready": True}}, "10.0.0.1"),
        ({"addresses": ["fd00::1"], "conditions": {}}, "[fd00::1]"),
        ({"addresses": ["10.0.0.1"], "conditions": {"ready": False, "serving": True}}, None),
        ({"addresses": []}, None),
    ],
    ids=["no word", "ready", "IPv6", "terminating", "no address"],
)
def test_an_endpoint_takes_requests_while_it_is_ready(endpoint: Any, host: str | None) -> None:
    found = ready_pods({"ports": [{"name": "http", "port": 8080}], "endpoints": [endpoint]})
    assert [pod.host for pod in found] == ([host] if host else [])


def test_a_list_replaces_what_was_known() -> None:
    table = Table()
    for name, port in (("a", 20_001), ("b", 20_002)):
        table.replace(MODELS, [model(name)])
        table.replace(SERVICES, [service(name, port)])
        table.replace(SLICES, [slice_of(name, ("pod-1", 8080))])
    assert set(table.models) == {(NAMESPACE, "b")}
    assert table.ports == {20_002: (NAMESPACE, "b")}
    assert table.pods((NAMESPACE, "a")) == ()
    assert table.named("a") == []


def test_models_of_one_name_are_told_apart() -> None:
    table = Table()
    for namespace in ("b", "a"):
        table.put(MODELS, model(namespace=namespace))
    assert table.named("minilm") == [("a", "minilm"), ("b", "minilm")]
    table.drop(MODELS, ("a", "minilm"))
    assert table.named("minilm") == [("b", "minilm")]


def test_a_model_is_asleep_only_where_a_request_would_wake_it() -> None:
    table = Table()
    conditions = [{"type": "Asleep", "status": "True"}]
    table.put(MODELS, model(status={"conditions": conditions}))
    assert table.state(table.models[KEY]) is State.STARTING
    table.put(SERVICES, service())
    assert table.state(table.models[KEY]) is State.ASLEEP
    table.put(SLICES, slice_of("minilm", ("pod-1", 8080)))
    assert table.state(table.models[KEY]) is State.READY
