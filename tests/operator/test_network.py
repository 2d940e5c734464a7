"""Who reaches a model's pods, as whole values; and that a change by hand is found."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_api.errors import InvalidSpec
from kubeembed_operator.drift import difference
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.network import network_policy
from kubeembed_operator.observed import Observed
from kubeembed_operator.plan import plan
from kubeembed_operator.settings import Gateway, Settings
from kubeembed_operator.weights import Weights

Build = Callable[..., EmbeddingModel]

OPERATOR = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "system"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}},
}
ADMIN = [{"port": 8081, "protocol": "TCP"}]
PUBLIC = [{"port": 8080, "protocol": "TCP"}]


@pytest.fixture
def guarded(settings: Settings) -> Settings:
    return settings.model_copy(update={"admin_from": (OPERATOR,)})


def test_the_admin_port_is_the_operators_and_the_public_one_everybodys(
    model: Build, guarded: Settings
) -> None:
    made = network_policy(model(), guarded)
    assert made["kind"] == "NetworkPolicy"
    assert made["metadata"]["name"] == "minilm"
    assert made["spec"] == {
        "ingress": [{"from": [OPERATOR], "ports": ADMIN}, {"ports": PUBLIC}],
        "podSelector": {"matchLabels": {"kubeembed.dev/model": "minilm"}},
        "policyTypes": ["Ingress"],
    }


def test_who_is_not_named_is_not_let_in_the_gateway_neither(
    model: Build, guarded: Settings
) -> None:
    gateway = Gateway(namespace="system", labels={"app.kubernetes.io/component": "gateway"})
    built = model(network={"allowFrom": [{"podSelector": {}}]})
    made = network_policy(built, guarded.model_copy(update={"gateway": gateway}))
    assert made["spec"]["ingress"][1]["from"] == [{"podSelector": {}}]


def test_a_list_narrows_the_public_port_and_is_passed_on_as_it_was_written(
    model: Build, guarded: Settings
) -> None:
    told: list[dict[str, Any]] = [
        {"podSelector": {}},
        {
            "namespaceSelector": {"matchLabels": {"team": "search"}},
            "podSelector": {
                "matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]
            },
        },
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
    ]
    made = network_policy(model(network={"allowFrom": told}), guarded)
    assert made["spec"]["ingress"] == [
        {"from": [OPERATOR], "ports": ADMIN},
        {"from": told, "ports": PUBLIC},
    ]


def test_an_operator_that_knows_no_pods_of_its_own_makes_no_policy(
    model: Build, settings: Settings, guarded: Settings
) -> None:
    def kinds(of: Settings) -> list[str]:
        return [each["kind"] for each in plan(model(), of, Observed(), Weights(request="r")).apply]

    assert "NetworkPolicy" in kinds(guarded)
    assert "NetworkPolicy" not in kinds(settings)


def _opens_admin(spec: Manifest) -> None:
    del spec["ingress"][0]["from"]


def _adds_a_peer(spec: Manifest) -> None:
    spec["ingress"][0]["from"].append({"podSelector": {}})


def _widens_a_peer(spec: Manifest) -> None:
    del spec["ingress"][0]["from"][0]["podSelector"]


def _adds_a_rule(spec: Manifest) -> None:
    spec["ingress"].append({})


def _narrows_public(spec: Manifest) -> None:
    spec["ingress"][1]["from"] = [{"podSelector": {}}]


@pytest.mark.parametrize(
    "change", [_opens_admin, _adds_a_peer, _widens_a_peer, _adds_a_rule, _narrows_public]
)
def test_every_change_of_the_rules_is_found(
    model: Build, guarded: Settings, change: Callable[[Manifest], None]
) -> None:
    wanted = network_policy(model(), guarded)
    live = copy.deepcopy(wanted)
    assert difference(wanted, live) is None
    change(live["spec"])
    assert difference(wanted, live) == "spec.ingress"


@pytest.mark.parametrize(
    ("peer", "problem"),
    [
        ({}, "spec.network.allowFrom[0]: is podSelector, namespaceSelector, both of them, or"),
        ({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}, "both of them, or ipBlock"),
        ({"ipBlock": {"cidr": "10.0.0.1/8"}}, "10.0.0.1/8 has host bits set; write one like"),
        ({"ipBlock": {"cidr": "10.0.0.0/99"}}, "write one like 10.0.0.0/8"),
        (
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}},
            "spec.network.allowFrom[0].ipBlock.except: 11.0.0.0/16 is not within 10.0.0.0/8",
        ),
        (
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["fd00::/16"]}},
            "fd00::/16 is not within 10.0.0.0/8",
        ),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "a In: values go with In and NotIn, and with nothing else",
        ),
    ],
    ids=["nothing", "both", "host bits", "prefix", "outside", "other family", "no values"],
)
def test_a_peer_that_is_none_is_refused_with_the_way_out(
    document: Callable[..., Manifest], peer: Manifest, problem: str
) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse(document(network={"allowFrom": [peer]}))
    assert problem in str(refused.value)
