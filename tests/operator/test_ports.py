"""Which port of the gateway is a model's: its own, for as long as its Service lives."""

from collections.abc import Callable
from typing import Any

import pytest

from kubeembed_api import names
from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_operator import ports
from kubeembed_operator.kinds import MODEL, SERVICE, Manifest
from kubeembed_operator.ports import ActivatorPorts, NoPortLeft
from kubeembed_operator.store import Store

SLEEPY = {"min": 0}


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def sleepy(store: Store, document: Callable[..., Manifest]) -> Callable[..., EmbeddingModel]:
    """A model of this name and uid, which the store knows."""

    def build(name: str, uid: str = "", **scaling: Any) -> EmbeddingModel:
        made = document(name=name, scaling=scaling or SLEEPY)
        made["metadata"]["uid"] = uid or f"uid-of-{name}"
        store.put(MODEL, made)
        return parse(made)

    return build


def service(
    model: EmbeddingModel, port: int | str | None, at: str = "2026-11-24T12:00:00Z"
) -> Manifest:
    told = {} if port is None else {"kubeembed.dev/activator-port": str(port)}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": model.name,
            "namespace": model.namespace,
            "uid": f"service-{model.name}",
            "resourceVersion": "1",
            "creationTimestamp": at,
            "annotations": told,
            "ownerReferences": [
                {"kind": "EmbeddingModel", "uid": model.metadata.uid, "controller": True}
            ],
        },
    }


def test_a_port_is_given_once_and_to_nobody_else(
    store: Store, sleepy: Callable[..., EmbeddingModel]
) -> None:
    given = ActivatorPorts(store)
    models = [sleepy(f"m{number}") for number in range(300)]
    found = [given.of(model) for model in models]
    assert len({*found}) == 300
    assert all(port in range(20000, 30000) for port in found)
    assert [given.of(model) for model in models] == found
    for model, port in zip(models, found, strict=True):
        store.put(SERVICE, service(model, port))
    assert [ActivatorPorts(store).of(model) for model in models] == found


def test_two_that_begin_at_one_place_get_two(
    store: Store, sleepy: Callable[..., EmbeddingModel]
) -> None:
    given = ActivatorPorts(store)
    first, second = given.of(sleepy("a", "same")), given.of(sleepy("b", "same"))
    assert (second or 0) - (first or 0) in (1, 1 - len(names.ACTIVATOR_PORTS))


def test_a_model_that_may_not_sleep_has_none_and_keeps_what_it_had(
    store: Store, sleepy: Callable[..., EmbeddingModel]
) -> None:
    given, model = ActivatorPorts(store), sleepy("m", min=1, max=2)
    assert given.of(model) is None
    store.put(SERVICE, service(model, 20007))
    assert given.of(model) == 20007


def test_what_is_no_port_of_the_gateway_s_is_replaced(
    store: Store, sleepy: Callable[..., EmbeddingModel]
) -> None:
    model = sleepy("m")
    for wrong in ("80", "no", "30000", "-1", ""):
        store.put(SERVICE, service(model, wrong))
        assert ActivatorPorts(store).of(model) in names.ACTIVATOR_PORTS


def test_of_two_services_with_one_port_the_older_one_keeps_it(
    store: Store, sleepy: Callable[..., EmbeddingModel]
) -> None:
    """As after a copy of the manifest with all that is in it."""
    old, copied = sleepy("old"), sleepy("copied")
    store.put(SERVICE, service(old, 20007, "2026-11-24T12:00:00Z"))
    store.put(SERVICE, service(copied, 20007, "2026-11-24T13:00:00Z"))
    given = ActivatorPorts(store)
    assert given.of(old) == 20007
    assert given.of(copied) not in (20007, None)


def test_what_was_given_to_a_model_that_is_gone_is_free_again(
    store: Store, sleepy: Callable[..., EmbeddingModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "ACTIVATOR_PORTS", range(20000, 20002))
    given = ActivatorPorts(store)
    models = [sleepy("a"), sleepy("b")]
    assert {given.of(model) for model in models} == {20000, 20001}
    with pytest.raises(NoPortLeft, match="2 models may sleep"):
        given.of(sleepy("c"))
    gone = store.get(MODEL, ("search", "a"))
    assert gone is not None
    store.drop(MODEL, gone)
    assert given.of(sleepy("c")) in (20000, 20001)
